// The side panel: an entity beside the page it was chosen on. State in sentences, its worst numbers, who it talks to, what
// happened; the whole of it is on its page.
import { useEffect, useMemo, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { useEntity, useEntityEdges, useEntityMetrics } from "../api/queries";
import type { Edge, EntityDetail } from "../api/types";
import { CheckList } from "../entity/CheckList";
import { HappenedList, useHappened } from "../entity/happened";
import { MetricChart } from "../entity/MetricChart";
import { worstFirst } from "../entity/order";
import { StateSince } from "../entity/StateSince";
import { num, shortId, sure } from "../format";
import { useT } from "../i18n";
import { faultPath } from "../incident/read";
import { mapLayer, namesOf } from "../map/names";
import { ToNow } from "../notfound";
import type { Mark } from "../parts/Chart";
import { Icon, typeIcon } from "../parts/icons";
import { EntityName, entityPath, To } from "../parts/links";
import { Answer, Broken, CopyId } from "../parts/page";
import { PANEL_ID } from "../parts/panel";
import { ofEntity } from "../parts/state";
import { useTime } from "../time/useTime";
import "../entity/entity.css";
import "./panel.css";

const MAX_CHECKS = 5;
const MAX_PEERS = 6;
const MAX_EVENTS = 6;
/** Charts shown before the rest is asked for. */
const FIRST_CHARTS = 6;

export default function Panel({ id, onClose }: { id: string; onClose: () => void }) {
  const t = useT();
  const time = useTime();
  const detail = useEntity(id, time.at);
  const box = useRef<HTMLElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another entity is read from its top
  useEffect(() => {
    box.current?.scrollTo(0, 0);
  }, [id]);
  const entity = detail.data?.entity;
  const name = entity ? namesOf(entity).name : shortId(id);
  const isUnknown = detail.error instanceof ApiError && detail.error.status === 404;
  return (
    <aside ref={box} id={PANEL_ID} className="side" tabIndex={-1} aria-labelledby={`${PANEL_ID}-h`}>
      <header>
        <h2 id={`${PANEL_ID}-h`}>
          <Icon name={typeIcon(entity?.type ?? "")} />
          <span className="en">{name}</span>
          {entity ? <small>{[namesOf(entity).sub, entity.host_name].filter(Boolean).join(" · ")}</small> : null}
        </h2>
        <To className="btn" to={entityPath(id)}>
          {t("panel.page")}
        </To>
        <button
          type="button"
          className="btn x"
          onClick={onClose}
          aria-label={t("panel.close")}
          title={`${t("panel.close")} (Esc)`}
        >
          ×
        </button>
      </header>
      <p className="sr" role="status">
        {entity ? t("panel.opened", { name }) : ""}
      </p>
      {isUnknown ? (
        <>
          <p className="pad">{t("panel.unknown")}</p>
          {time.live ? null : <ToNow />}
        </>
      ) : (
        <Answer of={detail} lines={8}>
          {(data) => <Shown detail={data} />}
        </Answer>
      )}
    </aside>
  );
}

function Shown({ detail }: { detail: EntityDetail }) {
  const t = useT();
  const { entity, parents, checks } = detail;
  const state = ofEntity(entity, checks);
  const open = detail.faults.find((fault) => fault.state === "open");
  const happened = useHappened(detail);
  const marks = useMemo(() => happened.map((one) => ({ ms: one.ts, text: one.text })), [happened]);
  const counts = Object.entries(entity.children).map(([type, count]) => `${num(count)} ${type}`);
  return (
    <>
      <p className={`pst ${state === "crit" || state === "warn" ? state : ""}`}>
        <StateSince detail={detail} state={state} />
      </p>
      <p className="meta">
        <span>{entity.type}</span>
        {parents.map((parent) => (
          <EntityName key={parent.id} id={parent.id} type={parent.type} name={namesOf(parent).name} />
        ))}
        {counts.length > 0 ? <span>{counts.join(", ")}</span> : null}
        <CopyId id={entity.id} shown={shortId(entity.id, 30)} />
      </p>
      {open ? (
        <p className="pin2">
          {t(open.cause?.entity_id === entity.id ? "entity.cause_of" : "entity.part_of")}{" "}
          <To className="lnk" to={faultPath(open)}>
            {open.entity_name}
          </To>{" "}
          {open.cause?.entity_id === entity.id ? sure(open.cause.probability) : null}
        </p>
      ) : null}
      <p className="act">
        <To className="btn" to={`/map?layer=${mapLayer(entity)}&center=${encodeURIComponent(entity.id)}`}>
          {t("page.map")}
        </To>
      </p>
      <h3>{t("entity.checks")}</h3>
      {checks.length > 0 ? (
        <CheckList checks={checks.slice(0, MAX_CHECKS)} entity={entity.id} />
      ) : (
        <p className="dim pad">{t("map.no_checks")}</p>
      )}
      <Numbers detail={detail} marks={marks} />
      <Peers detail={detail} />
      {happened.length > 0 ? (
        <>
          <h3>{t("entity.events")}</h3>
          <HappenedList rows={happened} most={MAX_EVENTS} />
        </>
      ) : null}
    </>
  );
}

function Numbers({ detail, marks }: { detail: EntityDetail; marks: readonly Mark[] }) {
  const t = useT();
  const time = useTime();
  const [all, setAll] = useState(false);
  const metrics = useEntityMetrics(detail.entity.id, time);
  return (
    <>
      <h3>{t("entity.metrics")}</h3>
      <Answer of={metrics} lines={5}>
        {(data) => {
          const rows = worstFirst(data.items, detail.entity.type);
          if (rows.length === 0) return <p className="dim pad">{t("entity.no_metrics")}</p>;
          return (
            <>
              <ul className="sm">
                {rows.slice(0, all ? undefined : FIRST_CHARTS).map((row) => (
                  <MetricChart key={row.metric} row={row} answer={data} type={detail.entity.type} marks={marks} height={44} />
                ))}
              </ul>
              {rows.length > FIRST_CHARTS && !all ? (
                <button type="button" className="btn" onClick={() => setAll(true)}>
                  {t("panel.all_metrics", { count: rows.length })}
                </button>
              ) : null}
            </>
          );
        }}
      </Answer>
    </>
  );
}

function Peers({ detail }: { detail: EntityDetail }) {
  const t = useT();
  const time = useTime();
  const { id } = detail.entity;
  const edges = useEntityEdges(id, time.at);
  const nodes = new Map((edges.data?.nodes ?? []).map((node) => [node.id, node]));
  const talks = (edges.data?.items ?? [])
    .filter((edge) => edge.relation === "connect" && edge.state !== "offline")
    .sort((a, b) => weight(b) - weight(a));
  if (edges.isError && !edges.data) return <Broken error={edges.error} retry={edges.refetch} />;
  if (talks.length === 0) return null;
  return (
    <>
      <h3>
        {t("entity.talks")} <small>{num(talks.length)}</small>
      </h3>
      <ul className="peers">
        {talks.slice(0, MAX_PEERS).map((edge) => {
          const other = edge.from === id ? edge.to : edge.from;
          const node = nodes.get(other);
          const names = node ? namesOf(node) : { name: shortId(other), sub: "" };
          const latency = edge.attributes.latency_p99_ms ?? edge.attributes.latency_p95_ms;
          return (
            <li key={edge.id}>
              <span className="dim">{t(edge.from === id ? "entity.calls" : "entity.called_by")}</span>
              <EntityName id={other} type={node?.type ?? ""} name={names.name} host={names.sub} />
              <span className="num">
                {edge.attributes.rate_per_s == null ? "" : `${num(edge.attributes.rate_per_s)}/s`}
                {latency == null ? "" : ` · ${num(latency)} ms`}
              </span>
            </li>
          );
        })}
      </ul>
    </>
  );
}

const weight = (edge: Edge) => edge.attributes.rate_per_s ?? 0;
