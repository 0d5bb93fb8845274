// The table twins of the two pictures.
import type { Horizontal, Vertical } from "../api/types";
import { num, percent } from "../format";
import { useT } from "../i18n";
import { EntityName } from "../parts/links";
import { ofEntity, State } from "../parts/state";
import { namesOf } from "./names";

export function EdgeTable({ answer }: { answer: Horizontal }) {
  const t = useT();
  const byId = new Map(answer.nodes.map((node) => [node.id, node]));
  const rows = answer.edges.filter((edge) => byId.has(edge.from) && byId.has(edge.to)).slice(0, 1000);
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
              <td className="num">{percent(edge.attributes.error_ratio)}</td>
              <td>{t(edge.state === "offline" ? "state.gone" : "map.live")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
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
            nodes.slice(0, 500).map((one) => {
              const state = ofEntity(one);
              return (
                <tr key={one.id}>
                  <td>{t(`band.${band}`)}</td>
                  <td>
                    <EntityName id={one.id} type={one.type} name={namesOf(one).name} host={namesOf(one).sub} />
                  </td>
                  <td className="dim">{one.type}</td>
                  <td>
                    <State state={state} /> {t(`state.${state}`)}
                  </td>
                </tr>
              );
            }),
          )}
        </tbody>
      </table>
    </div>
  );
}
