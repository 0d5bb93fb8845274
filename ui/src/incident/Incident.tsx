// Incident: what happened, the answer with its probability, what it hurts, the path drawn twice, the evidence aligned in time,
// what else was considered, what changed, what could not be seen, what to do.
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useParams, useSearchParams } from "react-router";
import { ApiError, post } from "../api/client";
import { useFault } from "../api/queries";
import type { FaultDetail, Feedback } from "../api/types";
import { duration, sentence, sentenceCase, shortId, stamp } from "../format";
import { useT, useText } from "../i18n";
import { useMetricName } from "../metrics";
import { NotFound } from "../notfound";
import { To } from "../parts/links";
import { Menu } from "../parts/Menu";
import { Answer, CopyId, Page } from "../parts/page";
import { Rich } from "../parts/rich";
import { judgedClass, ofSeverity, State } from "../parts/state";
import { useTime } from "../time/useTime";
import { Belief, Facts } from "./Answer";
import { Columns } from "./Columns";
import { Evidence } from "./Evidence";
import { exportFile } from "./exports";
import { Next } from "./Next";
import { Pictures } from "./Pictures";
import { stepName } from "./read";
import { exportReplay } from "./replay";
import { Symptoms } from "./Symptoms";
import "./incident.css";

export default function Incident() {
  const t = useT();
  const { id = "" } = useParams();
  const [params] = useSearchParams();
  const asked = Number(params.get("version") ?? Number.NaN);
  const latest = useFault(id);
  const last = latest.data?.Resource.result_version ?? null;
  const version = Number.isInteger(asked) && asked > 0 && asked !== last ? asked : null;
  const earlier = useFault(version === null ? "" : id, version);
  if (latest.error instanceof ApiError && latest.error.status === 404) return <NotFound what={id} />;
  const name = latest.data
    ? (latest.data.Resource.abnormal_kpi.entity_name ?? latest.data.Resource.abnormal_kpi.entity_id)
    : t("page.incidents");
  return (
    <Page title={name} className={`incp ${latest.data ? judgedClass(ofSeverity(latest.data.SeverityText)) : ""}`}>
      {(version === null ? latest : earlier).data ? null : <h1 className="sr">{name}</h1>}
      <Answer of={version === null ? latest : earlier} lines={12}>
        {(detail) => <Shown detail={detail} last={last ?? detail.Resource.result_version} />}
      </Answer>
    </Page>
  );
}

function useAnswerWords(detail: FaultDetail): { head: string; lead: string } {
  const t = useT();
  const say = useText();
  const metricName = useMetricName();
  const { Resource: result } = detail;
  const cause = result.cause_metrics[0];
  const kpi = result.abnormal_kpi;
  const long = say({ en: result.desc_en ?? "", zh: result.desc ?? "" }) || say(detail.summary) || kpi.desc;
  if (!cause)
    return {
      head: t(detail.asked && result.stage === "final" ? "incident.no_cause_found" : "incident.no_cause", {
        what: kpi.entity_name ?? kpi.entity_id,
        time: stamp(result.onset),
      }),
      lead: sentence(long),
    };
  const head =
    say(cause.text) ||
    say(cause.evidence[0]?.text) ||
    t("incident.cause_head", {
      metric: sentenceCase(metricName(cause.metric_id, cause.entity_type)),
      entity: cause.entity_name ?? stepName({ entity_id: cause.entity_id, entity_type: cause.entity_type }),
    });
  // A lead that begins with the heading says it twice; who is hurt and how much is told instead.
  const said = sentence(head).slice(0, -1).replace(/`/g, "");
  const isTwice = long.replace(/`/g, "").startsWith(`${said} (`);
  return { head: sentence(head), lead: sentence((isTwice && say(detail.summary)) || long) };
}

function Shown({ detail, last }: { detail: FaultDetail; last: number }) {
  const t = useT();
  const { now } = useTime();
  const { Resource: result } = detail;
  const words = useAnswerWords(detail);
  const judged = ofSeverity(detail.SeverityText);
  return (
    <>
      <div className="hd">
        <div>
          <p className="meta">
            <To className="lnk" to="/incidents">
              {t("page.incidents")}
            </To>
            {detail.asked ? (
              <span className="nw">{t("incident.asked")}</span>
            ) : (
              <span className={`nw ${judged === "na" ? "dim" : judged}`}>
                <State state={judged} label="" /> <b className={judged}>{t(`severity.${detail.SeverityText}`)}</b>
              </span>
            )}
            <span>
              <Rich
                text={t(detail.state === "open" ? "incident.open_since" : "incident.was", {
                  time: stamp(result.onset),
                  duration: duration((detail.state === "open" ? now : (detail.closed_ms ?? now)) - result.onset),
                })}
              />
            </span>
            <span>{t(result.scope === "cross_node" ? "incident.cross" : "incident.single")}</span>
            <CopyId id={detail.event_id} shown={shortId(detail.event_id, 30)} />
            <Versions shown={result.result_version} last={last} />
          </p>
          <h1>
            <Rich text={words.head} />
          </h1>
        </div>
        <Actions detail={detail} />
      </div>
      {words.lead ? (
        <p className="lead">
          <Rich text={words.lead} />
        </p>
      ) : null}
      <Next detail={detail} />
      <p className="sr" role="status">
        {detail.state === "open" ? "" : t("incident.over")}
      </p>
      <Facts detail={detail} />
      <Belief detail={detail} />
      <Symptoms detail={detail} />
      {result.cause_metrics[0]?.path.length ? <Pictures detail={detail} /> : null}
      <Evidence detail={detail} />
      <Columns detail={detail} />
    </>
  );
}

/** Earlier answers to the same incident, one step at a time. */
function Versions({ shown, last }: { shown: number; last: number }) {
  const t = useT();
  const [, setParams] = useSearchParams();
  if (last < 2) return null;
  const go = (version: number) =>
    setParams((old) => {
      const next = new URLSearchParams(old);
      if (version === last) next.delete("version");
      else next.set("version", String(version));
      return next;
    });
  return (
    <span className="vers" role="group" aria-label={t("incident.versions")}>
      <button type="button" disabled={shown <= 1} onClick={() => go(shown - 1)} aria-label={t("incident.version_before")}>
        ‹
      </button>
      {t("incident.version_of", { version: shown, count: last })}
      <button type="button" disabled={shown >= last} onClick={() => go(shown + 1)} aria-label={t("incident.version_after")}>
        ›
      </button>
      {shown < last ? (
        <button type="button" className="lnk" onClick={() => go(last)}>
          {t("incident.version_last")}
        </button>
      ) : null}
    </span>
  );
}

const VERDICTS = ["right", "wrong", "expected"] as const;

function Actions({ detail }: { detail: FaultDetail }) {
  const t = useT();
  const [given, setGiven] = useState<Feedback["verdict"] | null>(null);
  const send = useMutation({
    mutationFn: (verdict: Feedback["verdict"]) =>
      post(`/faults/${encodeURIComponent(detail.id)}/feedback`, {
        verdict,
        entity_id: detail.Resource.cause_metrics[0]?.entity_id ?? null,
        text: "",
      } satisfies Feedback),
    onSuccess: (_, verdict) => setGiven(verdict),
  });
  const replay = useMutation({ mutationFn: () => exportReplay(detail) });
  return (
    <div className="act">
      {detail.Resource.cause_metrics.length > 0 ? (
        <>
          <span className="lab q" role="status">
            {send.isError ? send.error.message : given ? t("incident.thanks") : t("incident.this_cause")}
          </span>
          <span className="grp" role="group" aria-label={t("incident.this_cause")}>
            {VERDICTS.map((verdict) => (
              <button
                key={verdict}
                type="button"
                className="btn"
                aria-pressed={given === verdict}
                disabled={send.isPending}
                onClick={() => send.mutate(verdict)}
              >
                {t(`incident.${verdict}`)}
              </button>
            ))}
          </span>
        </>
      ) : null}
      <span className="lab" role="status">
        {replay.isPending ? t("incident.collecting") : replay.isError ? replay.error.message : ""}
      </span>
      <Menu
        label={t("incident.export")}
        items={[
          { name: "JSON", run: () => exportFile(detail, "json") },
          { name: "Markdown", run: () => exportFile(detail, "md") },
          { name: t("incident.replay"), run: () => replay.mutate() },
        ]}
      />
    </div>
  );
}
