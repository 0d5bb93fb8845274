// Agent: what it costs, what each probe can do on this kernel and by which hook, what could not be seen, and what stands around it.
import { useBudget, useHasAgent, useHealth, useLedger, useProbes } from "../api/queries";
import type { Budget, Component, Hook, LedgerRow, ProbeRow, Rung } from "../api/types";
import { bytes, cost, duration, num, percent, portion, scaled, stamp, utc, withUnit } from "../format";
import { useT } from "../i18n";
import { Chart } from "../parts/Chart";
import { Answer, Empty, Page, Section } from "../parts/page";
import { Rich } from "../parts/rich";
import { type Judged, State } from "../parts/state";
import { useTime } from "../time/useTime";
import { ago, partName, placeName } from "./names";
import { Settings } from "./Settings";
import "./agent.css";

export default function Agent() {
  const t = useT();
  const budget = useBudget();
  const ledger = useLedger();
  const absent = useHasAgent() === false;
  return (
    <Page title={t("page.agent")}>
      {absent ? (
        <>
          <h1>{t("agent.no_probes")}</h1>
          <Empty title={t("agent.no_probes_here")}>{t("agent.no_probes_help")}</Empty>
        </>
      ) : (
        <>
          {budget.data ? null : <h1 className="sr">{t("page.agent")}</h1>}
          <Answer of={budget} lines={5}>
            {(data) => <Cost budget={data} requests={ledger.data?.requests_ratio ?? null} />}
          </Answer>
          <Probes />
        </>
      )}
      <div className="ag2">
        {absent ? null : <LedgerView />}
        <Around />
      </div>
    </Page>
  );
}

/** A smaller part of the bar has no room for its name. */
const NAMED_SHARE = 0.07;

function Cost({ budget, requests }: { budget: Budget; requests: number | null }) {
  const t = useT();
  const { now } = useTime();
  const { cpu, memory, history } = budget;
  const shed = budget.shed[0];
  const from = history[0]?.[0] ?? now - 900_000;
  const to = history[history.length - 1]?.[0] ?? now;
  const parts = [...budget.probes].sort((a, b) => b.cpu_ratio - a.cpu_ratio);
  const total = parts.reduce((sum, one) => sum + one.cpu_ratio, 0);
  const shown = parts.slice(0, 5);
  const rest = total - shown.reduce((sum, one) => sum + one.cpu_ratio, 0);
  const cells = [
    ...shown.map((one) => ({ name: one.name, share: one.cpu_ratio })),
    ...(rest > 0 ? [{ name: t("agent.other"), share: rest }] : []),
  ];
  return (
    <>
      <h1>{t("agent.costs", { cpu: cost(cpu.used_ratio), memory: bytes(memory.rss_bytes) })}</h1>
      <p className="lead">
        {t("agent.may", { cpu: percent(cpu.limit_ratio), memory: bytes(memory.limit_bytes) })}{" "}
        {shed ? (
          <Rich text={t("agent.shed", { what: shed.what, time: stamp(shed.at_ms), reason: shed.reason })} />
        ) : (
          t("agent.shed_nothing")
        )}{" "}
        {requests === null ? null : <Rich text={t("agent.sees", { ratio: portion(requests) })} />}
      </p>
      <div className="cost2">
        <figure>
          <figcaption>
            <span>
              {t("now.cpu")} <small>{t("agent.of_core")}</small>
            </span>
            <b>{num(cpu.used_ratio * 100, 2)}</b>
          </figcaption>
          <div className="cw">
            <Chart
              series={[{ label: "", points: history.map(([ms, ratio]) => [ms, ratio * 100]) }]}
              from={from}
              to={to}
              height={70}
              label={t("agent.cpu_label", { now: percent(cpu.used_ratio), limit: percent(cpu.limit_ratio) })}
              unit="%"
              limit={cpu.limit_ratio * 100}
            />
            <span className="tick lim2">{t("agent.budget", { limit: percent(cpu.limit_ratio) })}</span>
          </div>
        </figure>
        <figure>
          <figcaption>
            <span>
              {t("now.memory")}{" "}
              <small>{t("agent.memory_parts", { agent: bytes(memory.agent_bytes), maps: bytes(memory.map_bytes) })}</small>
            </span>
            <b>{withUnit(memory.used_bytes, "bytes")}</b>
          </figcaption>
          <div className="cw">
            <Chart
              series={[{ label: "", points: history.map(([ms, , size]) => [ms, size / 2 ** 20]) }]}
              from={from}
              to={to}
              height={70}
              label={t("agent.memory_label", { now: bytes(memory.used_bytes), limit: bytes(memory.limit_bytes) })}
              unit="MiB"
              limit={memory.limit_bytes / 2 ** 20}
            />
            <span className="tick lim2">{t("agent.budget", { limit: bytes(memory.limit_bytes) })}</span>
          </div>
          <p className="lab">{t("agent.memory_process", { rss: bytes(memory.rss_bytes) })}</p>
        </figure>
        <dl className="where">
          <div>
            <dt>{t("agent.where", { cpu: percent(cpu.used_ratio) })}</dt>
            <dd>
              <div className="stack" role="img" aria-label={cells.map((one) => `${one.name} ${percent(one.share)}`).join(", ")}>
                {cells.map((one, index) => (
                  <i
                    key={one.name}
                    className={index === 0 ? "a1" : ""}
                    style={{ flex: Math.max(one.share / (total || 1), 0.01) }}
                    title={`${one.name} ${percent(one.share)}`}
                  >
                    {one.share > total * NAMED_SHARE ? <span>{one.name}</span> : null}
                  </i>
                ))}
              </div>
            </dd>
            <dd className="vs">
              <span>
                {t("agent.in_kernel")} <b>{cpu.bpf_reason ? "–" : percent(cpu.bpf_ratio)}</b>
                {cpu.bpf_reason ? ` ${cpu.bpf_reason}` : null}
              </span>
              <span>
                {t("agent.in_agent")} <b>{percent(cpu.user_ratio)}</b>
              </span>
            </dd>
          </div>
        </dl>
      </div>
    </>
  );
}

const OF_STATE = { full: "ok", degraded: "warn", off: "na" } as const;

function Probes() {
  const t = useT();
  const probes = useProbes();
  const items = probes.data?.items ?? [];
  const count = (state: ProbeRow["state"]) => items.filter((one) => one.state === state).length;
  const dearest = Math.max(1e-9, ...items.map((one) => one.cpu_ratio ?? 0));
  const kernel = probes.data?.kernel;
  return (
    <Section
      title={t("agent.probes")}
      note={
        probes.data
          ? t("agent.probes_note", { count: items.length, full: count("full"), degraded: count("degraded"), off: count("off") })
          : null
      }
      right={kernel ? t(kernel.btf ? "agent.kernel_btf" : "agent.kernel_plain", { release: kernel.release }) : null}
    >
      <Answer of={probes} lines={7}>
        {() =>
          items.length === 0 ? (
            <Empty title={t("agent.no_probes")}>{t("agent.no_probes_help")}</Empty>
          ) : (
            <>
              <div className="scroll" tabIndex={0} role="region" aria-label={t("agent.probes")}>
                <table className="pt">
                  <thead>
                    <tr>
                      <th>{t("agent.probe")}</th>
                      <th>{t("agent.state")}</th>
                      <th>{t("agent.ladder")}</th>
                      <th className="num">{t("agent.ns")}</th>
                      <th className="num">{t("agent.events")}</th>
                      <th className="num">CPU %</th>
                      <th>
                        <span className="sr">{t("agent.share")}</span>
                      </th>
                      <th className="num">{t("agent.maps")}</th>
                      <th className="num">{t("agent.lost")}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {items.map((one) => (
                      <ProbeView key={one.name} probe={one} dearest={dearest} />
                    ))}
                  </tbody>
                </table>
              </div>
              <p className="lab lk">
                <span className="lad">
                  <i className="use">tp</i>
                </span>{" "}
                {t("agent.in_use")}{" "}
                <span className="lad">
                  <i className="can">/proc</i>
                </span>{" "}
                {t("agent.would")}{" "}
                <span className="lad">
                  <i className="no">kprobe</i>
                </span>{" "}
                {t("agent.cannot")} <span className="dim">{t("agent.leftmost")}</span>
              </p>
            </>
          )
        }
      </Answer>
    </Section>
  );
}

const PERCENT = { factor: 100, unit: "%" };

function ProbeView({ probe, dearest }: { probe: ProbeRow; dearest: number }) {
  const t = useT();
  const lost = probe.drops > 0;
  return (
    <>
      <tr>
        <td>
          <b>{probe.name}</b> <span className="dim">{probe.what}</span>
        </td>
        <td>
          <span className="stt">
            <State state={OF_STATE[probe.state]} label="" /> {t(`agent.${probe.state}`)}
          </span>
          {probe.reason ? <span className="why">{probe.reason}</span> : null}
        </td>
        <td>
          <Ladder hooks={probe.hooks} />
        </td>
        <td className="num">{num(probe.ns_per_event)}</td>
        <td className="num">{num(probe.events_per_s)}</td>
        <td className="num">{scaled(probe.cpu_ratio, PERCENT)}</td>
        <td className="cbt">
          <span className="cb">
            <i style={{ width: `${((probe.cpu_ratio ?? 0) / dearest) * 100}%` }} />
          </span>
        </td>
        <td className="num">{probe.map_bytes === null ? "–" : num(probe.map_bytes / 1024)}</td>
        <td className={`num ${lost ? "warn" : ""}`} title={probe.drops_reason ?? undefined}>
          {num(probe.drops)}
        </td>
      </tr>
      <tr className="hooks">
        <td colSpan={9}>
          {probe.hooks.length > 1 || probe.hooks.some((hook) => hook.reason) ? (
            <details>
              <summary>{t("agent.hooks", { count: probe.hooks.length })}</summary>
              <ul>
                {probe.hooks.map((hook) => (
                  <li key={hook.hook}>
                    <State state={OF_STATE[hook.state]} label={t(`agent.${hook.state}`)} />
                    <code>{hook.hook}</code>
                    <Ladder hooks={[hook]} />
                    <span className="dim">{hook.reason}</span>
                    <span className="hn num">{hook.ns_per_event == null ? "" : `${num(hook.ns_per_event)} ns`}</span>
                    <span className="hn num">{hook.events_per_s == null ? "" : `${num(hook.events_per_s)} /s`}</span>
                  </li>
                ))}
              </ul>
            </details>
          ) : null}
          <Settings probe={probe.name} subProbes={probe.sub_probes} />
        </td>
      </tr>
    </>
  );
}

const SHORT: Record<Rung, string> = {
  tp_btf: "tp_btf",
  raw_tracepoint: "raw tp",
  tracepoint: "tp",
  fexit: "fexit",
  kprobe: "kprobe",
  uprobe: "uprobe",
  perf_event: "perf",
  iterator: "iter",
  netlink: "netlink",
  procfs: "/proc",
};
const ORDER = Object.keys(SHORT) as Rung[];

/** Rungs in order: filled in use, outlined would work, struck not on this kernel. Rungs of several hooks are laid over each other. */
function Ladder({ hooks }: { hooks: readonly Hook[] }) {
  const t = useT();
  const used = new Set(hooks.map((hook) => hook.rung).filter((rung) => rung !== null));
  const all = new Set(hooks.flatMap((hook) => hook.ladder));
  for (const rung of used) all.add(rung);
  const cannot = new Set(hooks.flatMap((hook) => hook.missing ?? passed(hook)));
  const rungs = ORDER.filter((rung) => all.has(rung));
  if (rungs.length === 0) return <span className="dim">–</span>;
  const label =
    used.size > 0 ? t("agent.uses", { rungs: [...used].map((rung) => SHORT[rung]).join(", ") }) : t("agent.uses_none");
  return (
    <span className="lad" role="img" aria-label={label}>
      {rungs.map((rung) => (
        <i key={rung} className={used.has(rung) ? "use" : cannot.has(rung) ? "no" : "can"}>
          {SHORT[rung]}
        </i>
      ))}
    </span>
  );
}

/** The first rung that works is taken: those before it did not. */
function passed(hook: Hook): Rung[] {
  if (hook.rung === null) return hook.ladder;
  return hook.ladder.slice(0, Math.max(0, hook.ladder.indexOf(hook.rung)));
}

function LedgerView() {
  const t = useT();
  const ledger = useLedger();
  const rows = ledger.data?.items ?? [];
  return (
    <Section title={t("agent.ledger")} note={t("agent.ledger_note")}>
      <Answer of={ledger} lines={5}>
        {() =>
          rows.length === 0 ? (
            <Empty title={t("agent.no_ledger")}>{t("agent.no_ledger_help")}</Empty>
          ) : (
            <ul className="led">
              {rows.map((row) => (
                <LedgerLine key={`${row.place}${row.what}${row.reason}`} row={row} />
              ))}
            </ul>
          )
        }
      </Answer>
    </Section>
  );
}

/** Below this share of what took place, the number is a warning. */
const LOW_COVERAGE = 0.95;

function LedgerLine({ row }: { row: LedgerRow }) {
  const t = useT();
  const { now } = useTime();
  const low = row.ratio !== null && row.ratio < LOW_COVERAGE;
  const counts =
    row.total !== null && row.seen !== null && row.seen !== row.total
      ? t("agent.missed", { missed: num(row.total - row.seen), total: num(row.total) })
      : "";
  const words = [row.what, counts, row.reason].filter(Boolean).join(": ");
  const when = row.last_ms === null ? "" : ago(now - row.last_ms, t);
  return (
    <li>
      <span>{placeName(row.place, t)}</span>
      {row.ratio === null ? (
        <span className="num times" title={row.since_ms === undefined ? undefined : utc(row.since_ms)}>
          {row.count === undefined ? "–" : t(row.count === 1 ? "agent.times_1" : "agent.times", { count: num(row.count) })}
        </span>
      ) : (
        <span className="share">
          <span className={`mtr ${low ? "wrn" : ""}`} aria-hidden="true">
            <i style={{ width: `${Math.min(1, row.ratio) * 100}%` }} />
          </span>
          <span className={`num ${low ? "warn" : ""}`}>{portion(row.ratio)}</span>
        </span>
      )}
      <p>
        {words}
        {when ? (
          <span className="dim nw">
            {words ? ", " : ""}
            {when}
          </span>
        ) : null}
      </p>
    </li>
  );
}

const COMPONENT_STATE: Record<Component["status"], Judged> = { ok: "ok", degraded: "warn", starting: "na", off: "na" };

function Around() {
  const t = useT();
  const { now } = useTime();
  const health = useHealth();
  return (
    <Section title={t("agent.around")} right={health.data ? `gala ${health.data.version}` : null}>
      <Answer of={health} lines={5}>
        {(data) => (
          <ul className="hl">
            {Object.entries(data.components).map(([name, one]) => (
              <li key={name}>
                <State state={COMPONENT_STATE[one.status] ?? "na"} label={one.status} />
                <span>{partName(name, t)}</span>
                <p>
                  {[
                    one.reason || (one.status === "ok" ? "" : one.status),
                    one.kpis && one.kpis.warm < one.kpis.total
                      ? t("agent.warm", { warm: one.kpis.warm, total: one.kpis.total })
                      : "",
                    one.last_ms === null ? "" : ago(now - one.last_ms, t),
                  ]
                    .filter(Boolean)
                    .join(", ")}
                </p>
              </li>
            ))}
            <li>
              <State state="ok" label={t("agent.uptime")} />
              <span>{t("agent.uptime")}</span>
              <p>{duration(data.uptime_ms)}</p>
            </li>
          </ul>
        )}
      </Answer>
    </Section>
  );
}
