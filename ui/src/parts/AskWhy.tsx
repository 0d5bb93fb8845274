// Asks the hub for the causes of one number at one time, as if an incident had been opened there, and goes to the answer.
import { useMutation } from "@tanstack/react-query";
import { useLocation, useNavigate } from "react-router";
import { post } from "../api/client";
import type { Question } from "../api/types";
import { useT } from "../i18n";
import { keep } from "./links";

export function AskWhy({ entity, metric, time, what }: Question & { what: string }) {
  const t = useT();
  const navigate = useNavigate();
  const { search } = useLocation();
  const ask = useMutation({
    mutationFn: () =>
      post<{ id: string }>("/faults", { entity, metric, ...(time === undefined ? {} : { time }) } satisfies Question),
    onSuccess: ({ id }) => void navigate(keep(`/incidents/${encodeURIComponent(id)}`, search)),
  });
  return (
    <span className="why2">
      <button
        type="button"
        className="lnk"
        disabled={ask.isPending}
        title={ask.isError ? ask.error.message : t("ask.label", { what })}
        onClick={() => ask.mutate()}
      >
        {t(ask.isPending ? "ask.asking" : "ask.why")}
        <span className="sr"> {what}</span>
      </button>
      {ask.isError ? (
        <span className="warn" role="alert" title={ask.error.message}>
          {" "}
          {ask.error.message}
        </span>
      ) : null}
    </span>
  );
}
