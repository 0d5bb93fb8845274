// The title of the tab: the page's own, led by the number of open incidents, so that a tab in the background tells of one.
import { useSyncExternalStore } from "react";

let page = "";
let count = "";
const listeners = new Set<() => void>();

export function titleOf(page: string, count: string): string {
  const named = page === "" ? "gala" : `${page} · gala`;
  return count === "" ? named : `(${count}) ${named}`;
}

function show(): void {
  document.title = titleOf(page, count);
  for (const listener of listeners) listener();
}

export function setPageTitle(text: string): void {
  page = text;
  show();
}

/** Empty while none is open. */
export function setOpenCount(text: string): void {
  count = text;
  show();
}

/** The page's own title, for those who hear it change. */
export function usePageTitle(): string {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => page,
  );
}
