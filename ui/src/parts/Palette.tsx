// Search of everything: pages, incidents, entities, metrics. Arrows choose, Enter goes.
import { useEffect, useId, useMemo, useRef, useState } from "react";
import { useLocation, useNavigate } from "react-router";
import { useEntities, useFaults, useMetadata } from "../api/queries";
import { metricWords } from "../format";
import { type Key, useT } from "../i18n";
import { faultPath } from "../incident/read";
import { Icon, type IconName, typeIcon } from "./icons";
import { entityPath, keep } from "./links";
import { usePlain } from "./rich";
import { longestWord, matches } from "./words";

interface Hit {
  key: string;
  icon: IconName;
  name: string;
  note: string;
  kind: Key;
  to: string;
}

const PAGES: [string, Key, IconName][] = [
  ["/", "page.now", "now"],
  ["/incidents", "page.incidents", "incidents"],
  ["/map", "page.map", "map"],
  ["/entities", "page.entities", "entities"],
  ["/explore", "page.explore", "explore"],
  ["/agent", "page.agent", "agent"],
];
const MAX_EACH = 8;

export function Palette({ onClose }: { onClose: () => void }) {
  const t = useT();
  const plain = usePlain();
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  const navigate = useNavigate();
  const location = useLocation();
  const [text, setText] = useState("");
  const [asked, setAsked] = useState("");
  const [chosen, setChosen] = useState(0);
  const faults = useFaults({ limit: 100 });
  // The hub looks for one piece of text; all words are matched here.
  const longest = longestWord(asked);
  const entities = useEntities({ q: longest || undefined, limit: 200 });
  const metadata = useMetadata();

  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  useEffect(() => {
    const timer = setTimeout(() => setAsked(text.trim()), 120);
    return () => clearTimeout(timer);
  }, [text]);

  const hits = useMemo(() => {
    const query = text.trim();
    const out: Hit[] = [];
    for (const [to, name, icon] of PAGES)
      if (matches(t(name), query)) out.push({ key: to, icon, name: t(name), note: "", kind: "search.page", to });
    const found = (faults.data?.items ?? []).filter((fault) => matches(`${plain(fault.summary)} ${fault.entity_name}`, query));
    for (const fault of found.slice(0, MAX_EACH))
      out.push({
        key: fault.id,
        icon: "incidents",
        name: plain(fault.summary),
        note: "",
        kind: "search.incident",
        to: faultPath(fault),
      });
    const known = (entities.data?.items ?? []).filter((one) =>
      matches(`${one.name} ${one.type} ${one.host_name} ${one.id}`, query),
    );
    for (const one of known.slice(0, MAX_EACH))
      out.push({
        key: one.id,
        icon: typeIcon(one.type),
        name: one.name,
        note: `${one.type} · ${one.host_name}`,
        kind: "search.entity",
        to: entityPath(one.id),
      });
    if (query.length > 1) {
      const metrics = Object.entries(metadata.data ?? {}).filter(([name, rows]) =>
        matches(`${name} ${rows[0]?.help ?? ""}`, query),
      );
      for (const [name, rows] of metrics.slice(0, MAX_EACH))
        out.push({
          key: name,
          icon: "explore",
          name,
          note: rows[0]?.help ?? metricWords(name),
          kind: "search.metric",
          to: `/explore?q=${encodeURIComponent(name)}`,
        });
    }
    return out;
  }, [text, t, plain, faults.data, entities.data, metadata.data]);

  /** Until the hub has answered what stands in the field, nothing tells that there is none. */
  const isAsking = asked !== text.trim() || entities.isPending || entities.isPlaceholderData;
  const go = (hit: Hit | undefined) => {
    if (!hit) return;
    dialog.current?.close();
    void navigate(keep(hit.to, location.search));
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key === "ArrowDown") setChosen((old) => Math.min(hits.length - 1, old + 1));
    else if (event.key === "ArrowUp") setChosen((old) => Math.max(0, old - 1));
    else if (event.key === "Enter") go(hits[chosen]);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    document.getElementById(`${id}-${chosen}`)?.scrollIntoView({ block: "nearest" });
  }, [chosen, id]);

  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: a click beside the box closes it; Esc does the same
    <dialog
      ref={dialog}
      className="palette"
      aria-label={t("frame.search_label")}
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div className="pbox">
        <label className="pin">
          <Icon name="search" />
          <span className="sr">{t("frame.search_label")}</span>
          <input
            autoFocus
            value={text}
            placeholder={t("search.placeholder")}
            role="combobox"
            aria-expanded={hits.length > 0}
            aria-controls={hits.length > 0 ? `${id}-list` : undefined}
            aria-activedescendant={hits[chosen] ? `${id}-${chosen}` : undefined}
            autoComplete="off"
            spellCheck={false}
            onChange={(event) => {
              setText(event.target.value);
              setChosen(0);
            }}
            onKeyDown={onKeyDown}
          />
          <kbd>Esc</kbd>
        </label>
        <p className="sr" role="status">
          {text.trim() === "" || isAsking ? "" : t("search.found", { count: hits.length })}
        </p>
        {/* A list of nothing is none. */}
        {hits.length === 0 ? null : (
          <div id={`${id}-list`} className="plist" role="listbox" aria-label={t("search.results")}>
            {hits.map((hit, index) => (
              // biome-ignore lint/a11y/useKeyWithClickEvents: keys are handled by the field
              <div
                key={hit.kind + hit.key}
                id={`${id}-${index}`}
                role="option"
                tabIndex={-1}
                aria-selected={index === chosen}
                onClick={() => go(hit)}
                onPointerMove={() => setChosen(index)}
              >
                <Icon name={hit.icon} />
                <span className="pn">{hit.name}</span>
                <small>{hit.note}</small>
                <span className="lab">{t(hit.kind)}</span>
              </div>
            ))}
          </div>
        )}
        {entities.isError ? (
          <p className="pnone warn">
            {t("page.broken")} {entities.error.message}
          </p>
        ) : hits.length === 0 ? (
          <p className="pnone dim">{isAsking ? t("page.loading") : t("search.none", { text })}</p>
        ) : null}
      </div>
    </dialog>
  );
}
