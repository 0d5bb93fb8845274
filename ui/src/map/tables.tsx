// The table twins of the two pictures.
import type { Edge, Horizontal, Vertical } from "../api/types";
import { num, portion } from "../format";
import { useT } from "../i18n";
import { EntityName } from "../parts/links";
import { ofEntity, State } from "../parts/state";
import { namesOf } from "./names";

/** Rows of a table of relations, and of each band of a table of entities. */
const MAX_EDGES = 1000;
const MAX_NODES = 500;

export function EdgeTable({ answer }: { answer: Horizontal }) {
  const t = useT();
  const byId = new Map(answer.nodes.map((node) => [node.id, node]));
  const all = answer.edges.filter((edge) => byId.has(edge.from) && byId.has(edge.to));
  const isGone = (edge: Edge) => edge.state === "offline";
  // What is over comes last.
  const rows = [...all].sort((a, b) => Number(isGone(a)) - Number(isGone(b))).slice(0, MAX_EDGES);
  const name = (id: string) => {
    const one = byId.get(id)!;
    const names = namesOf(one);
    return <EntityName id={id} type={one.type} name={[names.name, names.sub].filter(Boolean).join(" ")} host={one.host_name} />;
  };
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={t("map.who")}>
      <table>
        <thead>
          <tr>
            <th>{t("map.client")}</th>
            <th>{t("map.server")}</th>
            <th className="num">{t("map.connections")}</th>
            <th className="num">{t("now.rate")}</th>
            <th className="num">ms</th>
            <th className="num">{t("now.errors")}</th>
            <th>{t("map.state")}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((edge) => (
            <tr key={edge.id}>
              <td>{name(edge.from)}</td>
              <td>{name(edge.to)}</td>
              <td className="num">{num(edge.attributes.connections)}</td>
              <td className="num">{num(edge.attributes.rate_per_s)}</td>
              <td className="num">{num(edge.attributes.latency_p99_ms ?? edge.attributes.latency_p95_ms)}</td>
              <td className="num">{portion(edge.attributes.error_ratio)}</td>
              <td>{t(isGone(edge) ? "state.gone" : "map.live")}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <Cut shown={rows.length} count={all.length} />
    </div>
  );
}

/** What a table leaves out is said. */
function Cut({ shown, count }: { shown: number; count: number }) {
  const t = useT();
  return shown === count ? null : <p className="dim pad">{t("map.cut", { shown: num(shown), count: num(count) })}</p>;
}

export function NodeTable({ answer }: { answer: Vertical }) {
  const t = useT();
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={t("map.stands")}>
      <table>
        <thead>
          <tr>
            <th>{t("map.band")}</th>
            <th>{t("map.entity")}</th>
            <th>{t("map.type")}</th>
            <th>{t("map.state")}</th>
          </tr>
        </thead>
        <tbody>
          {answer.bands.flatMap(({ band, nodes }) =>
            nodes.slice(0, MAX_NODES).map((one) => {
              const state = ofEntity(one);
              return (
                <tr key={one.id}>
                  <td>{t(`band.${band}`)}</td>
                  <td>
                    <EntityName id={one.id} type={one.type} name={namesOf(one).name} host={namesOf(one).sub} />
                  </td>
                  <td className="dim">{one.type}</td>
                  <td>
                    <State state={state} label="" /> {t(`state.${state}`)}
                  </td>
                </tr>
              );
            }),
          )}
        </tbody>
      </table>
      <Cut
        shown={answer.bands.reduce((sum, { nodes }) => sum + Math.min(MAX_NODES, nodes.length), 0)}
        count={answer.bands.reduce((sum, { nodes }) => sum + nodes.length, 0)}
      />
    </div>
  );
}
