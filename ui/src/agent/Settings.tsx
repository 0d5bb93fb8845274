// Settings of one probe: whether it runs, what it observes, its parameters, and a text to change them in.
import { useId, useState } from "react";
import { useConfigureProbe, useProbeConfig } from "../api/queries";
import type { ProbeConfig } from "../api/types";
import { useT } from "../i18n";
import { Answer } from "../parts/page";
import { Rich } from "../parts/rich";
import { editable, objects, parsed, starting } from "./settings";

export function Settings({ probe, subProbes }: { probe: string; subProbes: readonly string[] }) {
  const t = useT();
  const [open, setOpen] = useState(false);
  const config = useProbeConfig(probe, open);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{t("agent.settings")}</summary>
      {open ? (
        <Answer of={config} lines={3}>
          {(data) => <Form probe={probe} config={data} subProbes={subProbes} />}
        </Answer>
      ) : null}
    </details>
  );
}

function Form({ probe, config, subProbes }: { probe: string; config: ProbeConfig; subProbes: readonly string[] }) {
  const t = useT();
  const id = useId();
  const change = useConfigureProbe(probe);
  const [text, setText] = useState<string | null>(null);
  const [mistake, setMistake] = useState<string | null>(null);
  const runs = config.state === "running";
  const save = () => {
    const typed = parsed(text ?? "");
    if ("error" in typed) {
      setMistake(typed.error ? t("agent.no_json", { reason: typed.error }) : t("agent.no_object"));
      return;
    }
    setMistake(null);
    change.mutate(typed.config, { onSuccess: () => setText(null) });
  };
  const problem = mistake ?? change.error?.message ?? null;
  return (
    <div className="set">
      <dl>
        <dt>{t("agent.observes")}</dt>
        <dd>{rangeWords(config, t)}</dd>
        <dt>{t("agent.sub_probes")}</dt>
        <dd>{config.cmd?.probe?.join(", ") || "–"}</dd>
        {Object.entries(config.params ?? {}).map(([name, value]) => (
          <div key={name}>
            <dt>
              <code>{name}</code>
            </dt>
            <dd className="num">{String(value)}</dd>
          </div>
        ))}
      </dl>
      <p className="acts">
        <button
          type="button"
          className="btn"
          disabled={change.isPending}
          onClick={() => {
            setMistake(null);
            change.mutate(runs ? { state: "stopped" } : starting(config, subProbes));
          }}
        >
          {t(runs ? "agent.stop" : "agent.start")}
          <span className="sr"> {probe}</span>
        </button>
        {text === null ? (
          <button type="button" className="btn" onClick={() => setText(editable(config, subProbes))}>
            {t("agent.edit")}
            <span className="sr"> {probe}</span>
          </button>
        ) : null}
        <span className="lab" role="status">
          {change.isPending ? t("agent.changing") : change.isSuccess && !problem ? t("agent.changed") : ""}
        </span>
      </p>
      {text === null ? null : (
        <>
          <label htmlFor={id}>
            <Rich text={t("agent.as_text")} />
          </label>
          <textarea
            id={id}
            className="mono"
            spellCheck={false}
            rows={Math.min(24, text.split("\n").length + 1)}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <p className="acts">
            <button type="button" className="btn" disabled={change.isPending} onClick={save}>
              {t("agent.save")}
            </button>
            <button
              type="button"
              className="btn"
              onClick={() => {
                setText(null);
                setMistake(null);
                change.reset();
              }}
            >
              {t("agent.cancel")}
            </button>
          </p>
        </>
      )}
      {problem ? (
        <p className="warn" role="alert">
          {problem}
        </p>
      ) : null}
    </div>
  );
}

function rangeWords(config: ProbeConfig, t: ReturnType<typeof useT>): string {
  const only = objects(config.snoopers);
  const not = objects(config.blacklist);
  if (config.blacklist) return not.length === 0 ? t("agent.range_all") : t("agent.range_but", { names: not.join(", ") });
  return only.length === 0 ? t("agent.range_none") : t("agent.range_only", { names: only.join(", ") });
}
