// Whether pictures are shown as tables (`t`), from the URL.
import { useSearchParams } from "react-router";

export function useTwin(): boolean {
  return useSearchParams()[0].has("table");
}
