// The path drawn twice: through the processes that call each other, and down the stack the cause stands in.
import { useMemo } from "react";
import { useNavigate } from "react-router";
import { useHorizontal, useVertical } from "../api/queries";
import type { FaultDetail, Horizontal, PathStep } from "../api/types";
import { useT } from "../i18n";
import { useMeasure } from "../map/measure";
import { horizontal, type PictureNode, pathIds, vertical } from "../map/model";
import { namesOf } from "../map/names";
import { PictureView } from "../map/PictureView";
import { EdgeTable, NodeTable } from "../map/tables";
import { entityPath, keep, To } from "../parts/links";
import { Answer, Section } from "../parts/page";
import { useTwin } from "../parts/twin";
import { pathOf } from "./read";
import "../map/map.css";

const NOTHING = new Set<string>();

export function Pictures({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const twin = useTwin();
  const navigate = useNavigate();
  const { Resource: result } = detail;
  const steps = pathOf(detail);
  // A closed incident is drawn as it was.
  const at = detail.state === "closed" ? detail.closed_ms : null;
  const across = useHorizontal("process", at);
  const cause = result.cause_metrics[0]!;
  const root = stackRoot(steps) ?? cause.entity_id;
  const stack = useVertical(root, at, result.scope === "single_node" ? { perspective: "host" } : {});
  const measure = useMeasure();
  const near = useMemo(() => (across.data ? around(across.data, steps) : null), [across.data, steps]);
  const through = useMemo(
    () =>
      near
        ? horizontal(near, {
            layer: "process",
            by: "host",
            width: 560,
            measure,
            pinned: NOTHING,
            open: NOTHING,
            gone: false,
            steps,
            host: null,
            otherWord: t("map.other"),
            goneWord: t("state.gone"),
          })
        : null,
    [near, steps, t, measure],
  );
  const down = useMemo(() => {
    if (!stack.data) return null;
    return vertical(stack.data, { width: 590, measure, pinned: NOTHING, open: NOTHING, steps, brief: true });
  }, [stack.data, steps, measure]);
  const open = (node: PictureNode) => {
    if (node.entity) void navigate(keep(entityPath(node.entity.id), location.search));
    else void navigate(keep(`/map?path=${encodeURIComponent(detail.id)}&center=${encodeURIComponent(root)}`, location.search));
  };
  const rootName = stack.data?.bands.flatMap((band) => band.nodes).find((node) => node.id === stack.data.root);
  return (
    <Section
      title={t("incident.path")}
      note={t("incident.path_note")}
      right={
        <To
          className="lnk"
          to={`/map?path=${encodeURIComponent(detail.id)}&center=${encodeURIComponent(root)}${at ? `&at=${at}` : ""}`}
        >
          {t("incident.open_map")}
        </To>
      }
    >
      <div className="two">
        <figure>
          <figcaption className="lab">{t("incident.through")}</figcaption>
          <Answer of={across} lines={6}>
            {() =>
              near!.nodes.length === 0 ? (
                <p className="dim pad">{t("incident.no_services")}</p>
              ) : twin ? (
                <EdgeTable answer={near!} />
              ) : (
                <PictureView
                  picture={through!}
                  label={t("incident.through")}
                  trayTitle={(group) => group}
                  selected={null}
                  showPath
                  onSelect={open}
                  minHeight={200}
                />
              )
            }
          </Answer>
        </figure>
        <figure>
          <figcaption className="lab">
            {t("incident.down", { name: rootName ? namesOf(rootName).name : (cause.host_name ?? "") })}
          </figcaption>
          <Answer of={stack} lines={6}>
            {(data) =>
              twin ? (
                <NodeTable answer={data} />
              ) : (
                <PictureView
                  picture={down!}
                  bands
                  label={t("incident.down", { name: cause.host_name ?? "" })}
                  selected={null}
                  showPath
                  onSelect={open}
                  minHeight={200}
                />
              )
            }
          </Answer>
        </figure>
      </div>
    </Section>
  );
}

/** Where the stack is looked at from: the process nearest to the cause on the path, else the cause. */
function stackRoot(steps: readonly PathStep[]): string | null {
  return (
    steps.find((step) => step.entity_type === "proc" && step.entity_id && step.machine_id === steps[0]?.machine_id)?.entity_id ??
    null
  );
}

/** The processes of the path and who they talk to directly. */
function around(answer: Horizontal, steps: readonly PathStep[]): Horizontal {
  const onPath = new Set(pathIds(steps, answer.nodes, "process").filter((id) => id !== null));
  const keepIds = new Set(onPath);
  for (const edge of answer.edges) {
    if (onPath.has(edge.from)) keepIds.add(edge.to);
    if (onPath.has(edge.to)) keepIds.add(edge.from);
  }
  return {
    ...answer,
    nodes: answer.nodes.filter((node) => keepIds.has(node.id)),
    edges: answer.edges.filter((edge) => keepIds.has(edge.from) && keepIds.has(edge.to)),
  };
}
