// Entities: everything known, narrowed by type, state and text; thousands of rows scroll smoothly.
import { useEffect, useMemo, useRef, useState } from "react";
import { useSearchParams } from "react-router";
import { useEntities } from "../api/queries";
import { num } from "../format";
import { useT } from "../i18n";
import { namesOf } from "../map/names";
import { EntityName } from "../parts/links";
import { Answer, Empty, Page } from "../parts/page";
import { ofEntity, State } from "../parts/state";
import { Time } from "../parts/Time";
import { VirtualTable } from "../parts/VirtualTable";
import { longestWord } from "../parts/words";
import { useTime } from "../time/useTime";

const LIMIT = 10_000;
const RANK = { crit: 0, warn: 1, ok: 2, na: 3, gone: 4 };

export default function Entities() {
  const t = useT();
  const time = useTime();
  const [params, setParams] = useSearchParams();
  const type = params.get("type") ?? "";
  const state = params.get("state") ?? "";
  const sort = params.get("sort") ?? "state";
  const host = params.get("host");
  const q = params.get("q") ?? "";
  const [text, setText] = useState(q);
  const set = (name: string, value: string) =>
    setParams(
      (old) => {
        const next = new URLSearchParams(old);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: name === "q" },
    );
  /** What the address was last given from here; anything else came from elsewhere: Back, or a link. */
  const written = useRef(q);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only what is typed is written
  useEffect(() => {
    const timer = setTimeout(() => {
      if (text === q) return;
      written.current = text;
      set("q", text);
    }, 200);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    if (q === written.current) return;
    written.current = q;
    setText(q);
  }, [q]);
  const entities = useEntities({ limit: LIMIT, at: time.at, ...(state ? { state } : {}) });
  // What does not fit into one answer is narrowed by the hub, which knows them all.
  const isAsked = type !== "" || q !== "" || host !== null;
  const isCut = entities.data !== undefined && entities.data.next_cursor !== null && isAsked;
  const rarest = longestWord(q) || host;
  const narrowed = useEntities(
    { limit: LIMIT, at: time.at, ...(state ? { state } : {}), ...(type ? { type } : {}), ...(rarest ? { q: rarest } : {}) },
    isCut,
  );
  const asked = isCut && (narrowed.data || narrowed.isError) ? narrowed : entities;
  const all = useMemo(() => (entities.data?.items ?? []).filter((one) => !host || one.host_name === host), [entities.data, host]);
  const types = useMemo(() => {
    const out = new Map<string, number>();
    for (const one of all) out.set(one.type, (out.get(one.type) ?? 0) + 1);
    return [...out.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
  }, [all]);
  const rows = useMemo(() => {
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    const found = (asked.data?.items ?? []).filter(
      (one) =>
        (!host || one.host_name === host) &&
        (!type || one.type === type) &&
        words.every((word) => `${one.name} ${one.type} ${one.host_name} ${one.id}`.toLowerCase().includes(word)),
    );
    const by = (a: (typeof found)[number], b: (typeof found)[number]) => {
      const names = a.name.localeCompare(b.name, "en", { numeric: true });
      if (sort === "name") return names;
      if (sort === "type") return a.type.localeCompare(b.type) || names;
      if (sort === "host") return a.host_name.localeCompare(b.host_name) || names;
      return RANK[ofEntity(a)] - RANK[ofEntity(b)] || a.type.localeCompare(b.type) || names;
    };
    return [...found].sort(by);
  }, [asked.data, host, type, q, sort]);
  const head = (name: string, word: string) => (
    <button
      type="button"
      className={sort === name ? "sorted" : undefined}
      onClick={() => set("sort", name === "state" ? "" : name)}
    >
      {word}
      {sort === name ? " ↓" : ""}
    </button>
  );
  return (
    <Page title={t("page.entities")}>
      <div className="lh">
        <h1>{entities.data ? t("entities.title", { count: num(rows.length) }) : t("page.entities")}</h1>
        <div className="tools">
          <input
            className="field"
            type="search"
            value={text}
            placeholder={t("entities.find")}
            aria-label={t("entities.find")}
            onChange={(event) => setText(event.target.value)}
          />
          <label className="btn pick sel">
            <select value={type} aria-label={t("entities.by_type")} onChange={(event) => set("type", event.target.value)}>
              <option value="">{t("entities.all_types")}</option>
              {types.map(([name, count]) => (
                <option key={name} value={name}>
                  {name} ({num(count)})
                </option>
              ))}
            </select>
          </label>
          <span className="grp" role="group" aria-label={t("map.state")}>
            {(["", "online", "offline"] as const).map((value) => (
              <button
                key={value}
                type="button"
                className="btn"
                aria-pressed={state === value}
                onClick={() => set("state", value)}
              >
                {t(value === "" ? "incidents.all" : value === "online" ? "map.live" : "state.gone")}
              </button>
            ))}
          </span>
        </div>
      </div>
      <Answer of={asked} lines={14}>
        {(data) =>
          rows.length === 0 ? (
            <Empty title={t("entities.none")}>{t(all.length === 0 ? "entities.none_help" : "entities.none_match")}</Empty>
          ) : (
            <>
              <VirtualTable
                label={t("page.entities")}
                rows={rows}
                rowKey={(one) => one.id}
                columns={[
                  {
                    sorted: sort === "state",
                    head: head("state", t("map.state")),
                    width: "120px",
                    narrow: "76px",
                    cell: (one) => (
                      <>
                        <State state={ofEntity(one)} label="" /> {t(`state.${ofEntity(one)}`)}
                      </>
                    ),
                  },
                  {
                    sorted: sort === "name",
                    head: head("name", t("map.entity")),
                    width: "minmax(240px, 2fr)",
                    narrow: "minmax(0, 2fr)",
                    cell: (one) => {
                      const names = namesOf(one);
                      return (
                        <EntityName
                          id={one.id}
                          type={one.type}
                          name={one.type === "fs" ? one.name : names.name}
                          host={names.sub}
                        />
                      );
                    },
                  },
                  {
                    sorted: sort === "type",
                    head: head("type", t("map.type")),
                    width: "140px",
                    narrow: null,
                    cell: (one) => <span className="dim">{one.type}</span>,
                  },
                  {
                    sorted: sort === "host",
                    head: head("host", t("entities.host")),
                    width: "minmax(120px, 1fr)",
                    narrow: "minmax(0, 1fr)",
                    cell: (one) => one.host_name,
                  },
                  {
                    head: t("entities.anomalies"),
                    width: "90px",
                    narrow: null,
                    num: true,
                    cell: (one) => (one.badges.anomalies > 0 ? num(one.badges.anomalies) : "–"),
                  },
                  {
                    head: t("entities.gone"),
                    width: "150px",
                    narrow: null,
                    num: true,
                    cell: (one) => (one.offline_at ? <Time ms={one.offline_at} /> : "–"),
                  },
                ]}
              />
              {data.next_cursor ? <p className="dim pad">{t("entities.more", { count: num(LIMIT) })}</p> : null}
            </>
          )
        }
      </Answer>
    </Page>
  );
}
