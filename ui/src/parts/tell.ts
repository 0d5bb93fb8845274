// Words for those who do not see the page, said once by one region: ten charts that wait or fail are one sentence, not ten.
import { useSyncExternalStore } from "react";

/** The same words again within this are the same news. */
const SAME_MS = 5000;

let told = { words: "", at: 0 };
const listeners = new Set<() => void>();

export function tell(words: string): void {
  const at = Date.now();
  if (words === told.words && at - told.at < SAME_MS) return;
  told = { words, at };
  for (const listener of listeners) listener();
}

export function useTold(): { words: string; at: number } {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => told,
  );
}
