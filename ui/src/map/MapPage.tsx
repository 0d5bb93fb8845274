// Map: who talks to whom on the left, what the chosen one stands on at the right. Everything chosen stands in the URL.
import { useCallback, useMemo, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { useFault, useHorizontal, useLedger, useVertical } from "../api/queries";
import type { Entity, Layer } from "../api/types";
import { num, stamp } from "../format";
import { useT } from "../i18n";
import { pathOf } from "../incident/read";
import { Icon } from "../parts/icons";
import { EntityName, entityPath, keep, To } from "../parts/links";
import { Answer, Broken, Empty, Page } from "../parts/page";
import { usePanel } from "../parts/panel";
import { Rich } from "../parts/rich";
import { judgedClass, ofSeverity, State } from "../parts/state";
import { useTwin } from "../parts/twin";
import { useTime } from "../time/useTime";
import { Dock } from "./Dock";
import { useMeasure } from "./measure";
import { type GroupBy, horizontal, type Picture, type PictureEdge, type PictureNode, vertical } from "./model";
import { namesOf } from "./names";
import { PictureView } from "./PictureView";
import { EdgeTable, NodeTable } from "./tables";
import "./map.css";

const LAYERS: { layer: Layer; icon: "app" | "proc" | "host"; word: "layer.application" | "layer.process" | "layer.host" }[] = [
  { layer: "application", icon: "app", word: "layer.application" },
  { layer: "process", icon: "proc", word: "layer.process" },
  { layer: "host", icon: "host", word: "layer.host" },
];

function useMapState() {
  const [params, setParams] = useSearchParams();
  const asked = params.get("layer");
  const layer: Layer = asked === "application" || asked === "host" ? asked : "process";
  const by = params.get("by");
  const set = useCallback(
    (changes: Record<string, string | null>) =>
      setParams((old) => {
        const next = new URLSearchParams(old);
        for (const [name, value] of Object.entries(changes)) {
          if (value === null) next.delete(name);
          else next.set(name, value);
        }
        return next;
      }),
    [setParams],
  );
  return {
    layer,
    center: params.get("center"),
    by: (by === "service" || by === "unit" ? by : "host") as GroupBy,
    rates: params.has("rates"),
    gone: params.has("gone"),
    path: params.get("path"),
    hidePath: params.has("nopath"),
    open: useMemo(() => new Set(params.getAll("open").flatMap((text) => text.split("|"))), [params]),
    host: params.get("host"),
    set,
  };
}

const NO_STEPS: never[] = [];

export default function MapPage() {
  const t = useT();
  const time = useTime();
  const navigate = useNavigate();
  const state = useMapState();
  const twin = useTwin();
  const panel = usePanel();
  const [hovered, setHovered] = useState<Entity | null>(null);
  const answer = useHorizontal(state.layer, time.at);
  const fault = useFault(state.path ?? "");
  const steps = state.path && fault.data ? pathOf(fault.data) : NO_STEPS;
  const ledger = useLedger();
  const measure = useMeasure();
  const pinned = useMemo(() => new Set(state.center ? [state.center] : []), [state.center]);

  const picture = useMemo(
    () =>
      answer.data
        ? horizontal(answer.data, {
            layer: state.layer,
            by: state.by,
            width: 560,
            measure,
            pinned,
            open: state.open,
            gone: state.gone,
            steps,
            host: state.host,
            otherWord: t("map.other"),
            goneWord: t("state.gone"),
          })
        : null,
    [answer.data, state.layer, state.by, pinned, state.open, state.gone, steps, state.host, t, measure],
  );
  const first =
    nearestToCause(picture) ?? picture?.nodes.find((node) => node.state === "crit" && node.entity) ?? busiest(picture);
  const root = state.center ?? first?.entity?.id ?? null;
  const stack = useVertical(root, time.at);
  const inside = useMemo(
    () => [...(answer.data?.nodes ?? []), ...(stack.data?.bands.flatMap((band) => band.nodes) ?? [])],
    [answer.data, stack.data],
  );
  const entity = inside.find((one) => one.id === root) ?? null;
  const shown = hovered ?? entity;
  const onPicture = picture?.nodes.some((node) => node.id === root)
    ? root
    : (near(entity, answer.data?.nodes ?? [], state.layer)?.id ?? null);

  const unfold = (key: string) => state.set({ open: [...state.open, key].join("|") });
  const chooseHorizontal = (node: PictureNode) => {
    if (node.fold) unfold(node.fold);
    else if (node.id === state.center) panel.open(node.id);
    else state.set({ center: node.id });
  };
  const chooseVertical = (node: PictureNode) => {
    if (node.fold) return unfold(node.fold);
    const layer = ({ appinstance: "application", proc: "process", host: "host" } as const)[
      node.type as "appinstance" | "proc" | "host"
    ];
    if (node.id === root) panel.open(node.id);
    else if (layer) state.set({ center: node.id, layer });
    else state.set({ center: node.id });
  };
  const chooseEdge = (edge: PictureEdge) => {
    const target =
      picture?.nodes.find((node) => node.id === edge.to)?.entity ?? picture?.nodes.find((node) => node.id === edge.from)?.entity;
    if (target)
      void navigate(
        keep(
          `${entityPath(target.id)}?peer=${encodeURIComponent(edge.from === target.id ? edge.to : edge.from)}`,
          location.search,
        ),
      );
  };
  const partial = answer.data?.partial || answer.data?.snapshot.state === "partial";

  return (
    <Page title={t("page.map")} className={`mapp ${fault.data ? judgedClass(ofSeverity(fault.data.SeverityText)) : ""}`}>
      <h1 className="sr">{t("page.map")}</h1>
      {state.path && fault.isError && !fault.data ? <Broken error={fault.error} retry={fault.refetch} /> : null}
      <div className="mt">
        <div className="say">
          {steps.length > 0 && fault.data ? (
            <>
              {t("map.path_of")}{" "}
              <To to={`/incidents/${encodeURIComponent(fault.data.id)}`}>
                <Rich text={t("map.incident_since", { time: stamp(fault.data.Resource.onset) })} />
              </To>
              {entity ? ", " : ""}
            </>
          ) : null}
          {entity ? (
            <>
              {t("map.selected")}{" "}
              <EntityName
                id={entity.id}
                type={entity.type}
                name={[namesOf(entity).name, namesOf(entity).sub].filter(Boolean).join(" ")}
                host={entity.host_name}
              />
            </>
          ) : (
            t("map.choose")
          )}
          {partial ? <span className="warn nw"> {t("map.partial")}</span> : null}
        </div>
        <div className="tools">
          {state.path ? (
            <button
              type="button"
              className="btn"
              aria-pressed={!state.hidePath}
              onClick={() => state.set({ nopath: state.hidePath ? null : "1" })}
            >
              {t("map.path")}
            </button>
          ) : null}
          <button
            type="button"
            className="btn"
            aria-pressed={state.rates}
            onClick={() => state.set({ rates: state.rates ? null : "1" })}
          >
            {t("map.rates")}
          </button>
          {state.layer === "process" ? (
            <button
              type="button"
              className="btn"
              title={t("map.gone_help")}
              aria-pressed={state.gone}
              onClick={() => state.set({ gone: state.gone ? null : "1" })}
            >
              {t("map.gone")}
            </button>
          ) : null}
          {state.layer === "process" ? (
            <span className="grp" role="group" aria-label={t("map.group_by")}>
              {(["host", "service", "unit"] as const).map((by) => (
                <button
                  key={by}
                  type="button"
                  className="btn"
                  aria-pressed={state.by === by}
                  onClick={() => state.set({ by: by === "host" ? null : by })}
                >
                  {t(`map.by_${by}`)}
                </button>
              ))}
            </span>
          ) : null}
          {state.open.size > 0 ? (
            <button type="button" className="btn" onClick={() => state.set({ open: null })}>
              {t("map.fold_again")}
            </button>
          ) : null}
          <button type="button" className="btn" aria-pressed={twin} onClick={() => state.set({ table: twin ? null : "1" })}>
            {t("page.table")} <kbd>t</kbd>
          </button>
        </div>
      </div>
      <div className="panes">
        <div className="layers" role="group" aria-label={t("map.layer")}>
          {LAYERS.map((one) => (
            <button
              key={one.layer}
              type="button"
              className="btn"
              aria-pressed={state.layer === one.layer}
              onClick={() => state.set({ layer: one.layer, center: near(entity, [], one.layer)?.id ?? state.center })}
            >
              <Icon name={one.icon} />
              <span>{t(one.word)}</span>
            </button>
          ))}
        </div>
        <section aria-labelledby="map-h">
          <h2 id="map-h" className="ph">
            {t("map.who")}{" "}
            {picture && !twin ? (
              <small>{t("map.counts", { shown: num(picture.nodes.length), folded: num(picture.folded) })}</small>
            ) : null}
          </h2>
          <Answer of={answer} lines={10}>
            {(data) =>
              data.nodes.length === 0 ? (
                <Empty title={t("map.empty")}>{t(`map.empty_${state.layer}`)}</Empty>
              ) : twin ? (
                <EdgeTable answer={data} />
              ) : (
                <PictureView
                  picture={picture!}
                  label={t("map.horizontal_label", { nodes: picture!.nodes.length, edges: picture!.edges.length })}
                  trayTitle={state.layer === "process" ? (group) => group : undefined}
                  selected={onPicture}
                  center={state.center ? onPicture : null}
                  showPath={!state.hidePath}
                  showRates={state.rates}
                  onSelect={chooseHorizontal}
                  onHover={(node) => setHovered(node?.entity ?? null)}
                  onEdge={chooseEdge}
                  minHeight={420}
                />
              )
            }
          </Answer>
        </section>
        <section aria-labelledby="map-v" className="vert">
          <h2 id="map-v" className="ph">
            {t("map.stands")}{" "}
            {stack.data && entity ? (
              <small>
                {t("map.perspective", { perspective: t(`layer.${stack.data.perspective}`), name: namesOf(entity).name })}
              </small>
            ) : null}
          </h2>
          {root === null && answer.data?.nodes.length === 0 ? null : root === null ? (
            <Empty title={t("map.nothing_chosen")}>{t("map.nothing_chosen_help")}</Empty>
          ) : (
            <Answer of={stack} lines={10}>
              {(data) =>
                twin ? (
                  <NodeTable answer={data} />
                ) : (
                  <Stack answer={data} root={root} state={state} steps={steps} onSelect={chooseVertical} onHover={setHovered} />
                )
              }
            </Answer>
          )}
          {shown ? <Dock entity={shown} /> : null}
        </section>
      </div>
      <div className="legend lab">
        <span>
          <State state="crit" /> {t("map.legend_crit")}
        </span>
        <span>
          <State state="warn" /> {t("state.warn")}
        </span>
        <span>
          <State state="gone" /> {t("map.legend_gone")}
        </span>
        <span>
          <i className="k s" />
          {t("map.legend_selected")}
        </span>
        <span>
          <i className="k p" />
          {t("map.legend_path")}
        </span>
        <span>
          <i className="k e" />
          {t("map.legend_edge")}
        </span>
        {ledger.data ? (
          <span className="r">{t("map.watched", { connections: num(ledger.data.watched.connections) })}</span>
        ) : null}
      </div>
    </Page>
  );
}

function Stack({
  answer,
  root,
  state,
  steps,
  onSelect,
  onHover,
}: {
  answer: import("../api/types").Vertical;
  root: string;
  state: ReturnType<typeof useMapState>;
  steps: readonly import("../api/types").PathStep[];
  onSelect: (node: PictureNode) => void;
  onHover: (entity: Entity | null) => void;
}) {
  const t = useT();
  const measure = useMeasure();
  const picture = useMemo(
    () => vertical(answer, { width: 590, measure, pinned: new Set([root]), open: state.open, steps }),
    [answer, root, state.open, steps, measure],
  );
  if (picture.nodes.length === 0) return <Empty title={t("map.empty")}>{t("map.empty_stack")}</Empty>;
  return (
    <PictureView
      picture={picture}
      bands
      label={t("map.vertical_label", { nodes: picture.nodes.length })}
      selected={root}
      showPath={!state.hidePath}
      minHeight={160}
      onSelect={onSelect}
      onHover={(node) => onHover(node?.entity ?? null)}
    />
  );
}

/** What of a layer an entity belongs to: itself, its process, its host. */
function near(entity: Entity | null, nodes: readonly Entity[], layer: Layer): Entity | null {
  if (!entity) return null;
  const same = nodes.filter((one) => one.machine_id === entity.machine_id);
  if (layer === "host") return same.find((one) => one.type === "host") ?? null;
  if (layer === "process" && entity.labels.tgid)
    return same.find((one) => one.type === "proc" && one.labels.tgid === entity.labels.tgid) ?? null;
  return null;
}

/** The node of the picture that carries the lowest number of the path. */
function nearestToCause(picture: Picture | null): PictureNode | undefined {
  const numbered = (picture?.nodes ?? []).filter((node) => node.number !== null && node.entity);
  return numbered.sort((a, b) => a.number! - b.number!)[0];
}

/** Where nothing is wrong, the node with most relations is the best place to start. */
function busiest(picture: Picture | null): PictureNode | undefined {
  if (!picture) return undefined;
  const degree = new Map<string, number>();
  for (const edge of picture.edges) for (const id of [edge.from, edge.to]) degree.set(id, (degree.get(id) ?? 0) + 1);
  return picture.nodes
    .filter((node) => node.entity && node.state !== "gone")
    .sort((a, b) => (degree.get(b.id) ?? 0) - (degree.get(a.id) ?? 0) || (a.id < b.id ? -1 : 1))[0];
}
