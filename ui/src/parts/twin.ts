// Whether pictures are shown as tables, from the URL.
import { useSearchParams } from "react-router";

const PARAM = "table";

export function useTwin(): boolean {
  return useSearchParams()[0].has(PARAM);
}

/** Parameters with pictures for tables, or tables for pictures. */
export function switchTwin(params: URLSearchParams): URLSearchParams {
  const next = new URLSearchParams(params);
  if (next.has(PARAM)) next.delete(PARAM);
  else next.set(PARAM, "1");
  return next;
}
