// Entity: what it is, whether it is well in sentences, its numbers by table, who it talks to, what happened to it.
import { useMemo } from "react";
import { useParams, useSearchParams } from "react-router";
import { ApiError } from "../api/client";
import { shows } from "../api/derive";
import { useEntity, useEntityEdges, useEntityMetrics } from "../api/queries";
import type { Edge, EntityDetail, EntityMetric, EntityMetrics } from "../api/types";
import { clockRange, duration, num, portion, sentenceCase, shortId, stamp, sure, withUnit } from "../format";
import { useLang, useT } from "../i18n";
import { faultPath } from "../incident/read";
import { mapLayer, namesOf } from "../map/names";
import { tableName, useMetricName } from "../metrics";
import { NotFound, NotThen } from "../notfound";
import type { Mark } from "../parts/Chart";
import { Icon, typeIcon } from "../parts/icons";
import { EntityName, To } from "../parts/links";
import { Answer, CopyId, Empty, Page, Section } from "../parts/page";
import { Rich, usePlain } from "../parts/rich";
import { ofEntity, State } from "../parts/state";
import { Time } from "../parts/Time";
import { lastValue } from "../parts/trace";
import { VirtualTable } from "../parts/VirtualTable";
import { useTime } from "../time/useTime";
import { unitOf } from "../units";
import { CheckList } from "./CheckList";
import { HappenedList, useHappened } from "./happened";
import { MetricChart } from "./MetricChart";
import { isFlat, worstFirst } from "./order";
import { StateSince } from "./StateSince";
import { selector } from "./selector";
import "./entity.css";

export default function Entity() {
  const t = useT();
  const { id = "" } = useParams();
  const time = useTime();
  const detail = useEntity(id, time.at);
  if (detail.error instanceof ApiError && detail.error.status === 404)
    return time.live ? <NotFound text={t("notfound.entity", { id })} /> : <NotThen id={id} />;
  return (
    <Page title={detail.data ? namesOf(detail.data.entity).name : t("page.entities")} className="entp">
      {detail.data ? null : <h1 className="sr">{t("page.entities")}</h1>}
      <Answer of={detail} lines={10}>
        {(data) => (
          <>
            <Head detail={data} />
            <div className="eg2">
              <Checks detail={data} />
              <Events detail={data} />
            </div>
            <Charts detail={data} />
            <Relations detail={data} />
          </>
        )}
      </Answer>
    </Page>
  );
}

function Head({ detail }: { detail: EntityDetail }) {
  const t = useT();
  const plain = usePlain();
  const time = useTime();
  const { entity, parents } = detail;
  const names = namesOf(entity);
  const state = ofEntity(entity, detail.checks);
  const open = detail.faults.find((fault) => fault.state === "open");
  const labels = Object.entries(entity.labels).filter(([name]) => name !== "comm" && name !== "tgid");
  return (
    <>
      <p className="meta crumbs">
        <To className="lnk" to="/entities">
          {t("page.entities")}
        </To>
        <span>
          {parents.map((parent) => (
            <span key={parent.id}>
              <EntityName id={parent.id} type={parent.type} name={namesOf(parent).name} /> ›{" "}
            </span>
          ))}
          <EntityName id={null} type={entity.type} name={names.name} />
        </span>
        <CopyId id={entity.id} shown={shortId(entity.id, 34)} />
      </p>
      <div className="hd">
        <h1>
          <Icon name={typeIcon(entity.type)} />
          {names.name}
          {names.sub ? <small className="pid">{names.sub}</small> : null}
          <span className={`hs ${state === "crit" || state === "warn" ? state : "dim"}`}>
            <StateSince detail={detail} state={state} />
          </span>
        </h1>
        <div className="act">
          <To className="btn" to={`/map?layer=${mapLayer(entity)}&center=${encodeURIComponent(entity.id)}`}>
            {t("page.map")}
          </To>
          <To className="btn" to={`/explore?q=${encodeURIComponent(selector(entity))}`}>
            {t("page.explore")}
          </To>
        </div>
      </div>
      <dl className="facts">
        <div>
          <dt>{t("entity.type")}</dt>
          <dd>
            {entity.type} <small>{t(`band.${entity.band}`)}</small>
          </dd>
        </div>
        {entity.type === "host" ? null : (
          <div>
            <dt>{t("entity.on")}</dt>
            <dd>{entity.host_name}</dd>
          </div>
        )}
        {Object.entries(entity.children)
          .slice(0, 3)
          .map(([type, count]) => (
            <div key={type}>
              <dt>{type}</dt>
              <dd>{num(count)}</dd>
            </div>
          ))}
        <div>
          <dt>{t("entity.seen")}</dt>
          <dd>
            <Rich text={t("entity.seen_since", { time: stamp(detail.first_seen_ms) })} />{" "}
            <small>{duration(Math.max(0, (entity.offline_at ?? time.now) - detail.first_seen_ms))}</small>
          </dd>
        </div>
        {open ? (
          <div>
            <dt>{t(open.cause?.entity_id === entity.id ? "entity.cause_of" : "entity.part_of")}</dt>
            <dd>
              <To className="lnk" to={faultPath(open)}>
                {open.entity_name}
              </To>{" "}
              <small title={plain(open.summary)}>
                {open.cause?.entity_id === entity.id ? sure(open.cause.probability) : <Time ms={open.onset_ms} />}
              </small>
            </dd>
          </div>
        ) : null}
      </dl>
      {labels.length > 0 ? (
        <details className="labels">
          <summary>{t("entity.labels", { count: labels.length })}</summary>
          <dl>
            {labels.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>
                  <code>{value}</code>
                </dd>
              </div>
            ))}
          </dl>
        </details>
      ) : null}
    </>
  );
}

function Checks({ detail }: { detail: EntityDetail }) {
  const t = useT();
  const failing = detail.checks.filter((check) => check.state === "crit" || check.state === "warn").length;
  return (
    <Section
      title={t("entity.checks")}
      note={detail.checks.length > 0 ? t("entity.checks_note", { count: detail.checks.length, failing }) : null}
    >
      {detail.checks.length === 0 ? (
        <p className="dim pad">{t("entity.no_checks")}</p>
      ) : (
        <CheckList checks={detail.checks} entity={detail.entity.id} />
      )}
    </Section>
  );
}

const MAX_EVENTS = 12;

function Events({ detail }: { detail: EntityDetail }) {
  const t = useT();
  const rows = useHappened(detail);
  return (
    <Section title={t("entity.events")}>
      {rows.length === 0 ? <p className="dim pad">{t("entity.no_events")}</p> : <HappenedList rows={rows} most={MAX_EVENTS} />}
    </Section>
  );
}

function Charts({ detail }: { detail: EntityDetail }) {
  const t = useT();
  const time = useTime();
  const metrics = useEntityMetrics(detail.entity.id, time);
  const lang = useLang();
  const happened = useHappened(detail);
  const marks: Mark[] = useMemo(() => happened.map((one) => ({ ms: one.ts, text: one.text })), [happened]);
  const tables = useMemo(() => {
    const out = new Map<string, EntityMetric[]>();
    for (const one of worstFirst(metrics.data?.items ?? [], detail.entity.type))
      out.set(one.table, [...(out.get(one.table) ?? []), one]);
    return [...out.entries()];
  }, [metrics.data, detail.entity.type]);
  return (
    <Answer of={metrics} lines={8}>
      {(data) =>
        tables.length === 0 ? (
          <Section title={t("entity.metrics")}>
            <Empty title={t("entity.no_metrics")}>{t("entity.no_metrics_help")}</Empty>
          </Section>
        ) : (
          tables.map(([table, rows], index) => (
            <Table
              key={table}
              rows={rows}
              answer={data}
              type={detail.entity.type}
              marks={marks}
              title={tableName(table, lang)}
              right={index === 0 ? clockRange(data.from, data.to, time.now) : null}
            />
          ))
        )
      }
    </Answer>
  );
}

function Table({
  rows,
  answer,
  type,
  marks,
  title,
  right,
}: {
  rows: readonly EntityMetric[];
  answer: EntityMetrics;
  type: string;
  marks: readonly Mark[];
  title: string;
  right: string | null;
}) {
  const t = useT();
  const metricName = useMetricName();
  const [params] = useSearchParams();
  const wanted = params.get("metric");
  const flat = rows.filter((row) => isFlat(row) && !(wanted && shows(row, wanted)));
  const drawn = rows.filter((row) => !flat.includes(row));
  return (
    <Section title={title} note={t("entity.metrics_note", { count: rows.length })} right={right}>
      {drawn.length > 0 ? (
        <ul className="sm">
          {drawn.map((row) => (
            <MetricChart key={row.metric} row={row} answer={answer} type={type} marks={marks} />
          ))}
        </ul>
      ) : null}
      {flat.length > 0 ? (
        <details className="flat" open={drawn.length === 0}>
          <summary>{t("entity.flat", { count: flat.length })}</summary>
          <dl>
            {flat.map((row) => (
              <div key={row.metric}>
                <dt>
                  <To to={`/explore?q=${encodeURIComponent(row.query)}`} title={`${row.metric}\n${row.help}`.trim()}>
                    {sentenceCase(metricName(row.metric, type))}
                  </To>
                </dt>
                <dd>{withUnit(lastValue(row.series[0]?.points ?? []), unitOf(row.metric, row.unit))}</dd>
              </div>
            ))}
          </dl>
        </details>
      ) : null}
    </Section>
  );
}

function Relations({ detail }: { detail: EntityDetail }) {
  const t = useT();
  const time = useTime();
  const [params] = useSearchParams();
  const edges = useEntityEdges(detail.entity.id, time.at);
  const peer = params.get("peer");
  const { id } = detail.entity;
  const nodes = useMemo(() => new Map((edges.data?.nodes ?? []).map((node) => [node.id, node])), [edges.data]);
  const all = edges.data?.items ?? [];
  const talks = all
    .filter((edge) => edge.relation === "connect" || edge.relation === "is_peer")
    .sort((a, b) => Number(other(b, id) === peer) - Number(other(a, id) === peer));
  const children = all
    .filter((edge) => (edge.relation === "belongs_to" || edge.relation === "runs_on") && edge.to === id)
    .map((edge) => nodes.get(edge.from))
    .filter((node) => node !== undefined);
  const name = (one: string) => {
    const node = nodes.get(one);
    if (!node) return <EntityName id={one} type="proc" name={shortId(one)} />;
    const words = namesOf(node);
    return (
      <EntityName id={one} type={node.type} name={[words.name, words.sub].filter(Boolean).join(" ")} host={node.host_name} />
    );
  };
  return (
    <Answer of={edges} lines={3}>
      {() => (
        <>
          {talks.length > 0 ? (
            <Section title={t("entity.talks")} note={num(talks.length)}>
              <VirtualTable
                label={t("entity.talks")}
                rows={talks}
                rowKey={(edge) => edge.id}
                columns={[
                  {
                    head: t("entity.direction"),
                    width: "90px",
                    narrow: "68px",
                    cell: (edge) => t(edge.from === id ? "entity.calls" : "entity.called_by"),
                  },
                  {
                    head: t("entity.peer"),
                    width: "minmax(200px, 1.4fr)",
                    narrow: "minmax(0, 1fr)",
                    cell: (edge) => name(other(edge, id)),
                  },
                  {
                    head: t("map.connections"),
                    width: "90px",
                    narrow: null,
                    num: true,
                    cell: (edge) => num(edge.attributes.connections),
                  },
                  {
                    head: t("now.rate"),
                    width: "90px",
                    narrow: "52px",
                    num: true,
                    cell: (edge) => num(edge.attributes.rate_per_s),
                  },
                  {
                    head: t("entity.latency"),
                    width: "100px",
                    narrow: "64px",
                    num: true,
                    cell: (edge) => num(edge.attributes.latency_p99_ms ?? edge.attributes.latency_p95_ms),
                  },
                  {
                    head: t("entity.sent"),
                    width: "100px",
                    narrow: null,
                    num: true,
                    cell: (edge) => withUnit(edge.attributes.bytes_tx, "bytes"),
                  },
                  {
                    head: t("entity.received"),
                    width: "100px",
                    narrow: null,
                    num: true,
                    cell: (edge) => withUnit(edge.attributes.bytes_rx, "bytes"),
                  },
                  {
                    head: t("now.errors"),
                    width: "70px",
                    narrow: null,
                    num: true,
                    cell: (edge) => portion(edge.attributes.error_ratio),
                  },
                  {
                    head: t("map.state"),
                    width: "80px",
                    narrow: null,
                    cell: (edge) => t(edge.state === "offline" ? "state.gone" : "map.live"),
                  },
                ]}
              />
            </Section>
          ) : null}
          {children.length > 0 ? (
            <Section title={t("entity.children")} note={num(children.length)}>
              <VirtualTable
                label={t("entity.children")}
                rows={children}
                rowKey={(node) => node.id}
                columns={[
                  {
                    head: t("map.entity"),
                    width: "minmax(240px, 2fr)",
                    narrow: "minmax(0, 2fr)",
                    cell: (node) => <EntityName id={node.id} type={node.type} name={node.name} />,
                  },
                  {
                    head: t("map.type"),
                    width: "140px",
                    narrow: "90px",
                    cell: (node) => <span className="dim">{node.type}</span>,
                  },
                  {
                    head: t("map.state"),
                    width: "140px",
                    narrow: "84px",
                    cell: (node) => (
                      <>
                        <State state={ofEntity(node)} label="" /> {t(`state.${ofEntity(node)}`)}
                      </>
                    ),
                  },
                ]}
              />
            </Section>
          ) : null}
        </>
      )}
    </Answer>
  );
}

const other = (edge: Edge, id: string) => (edge.from === id ? edge.to : edge.from);
