// One cursor for all charts: a time under the pointer, told to every chart without rendering any of them again.

type Listener = (ms: number | null) => void;
const listeners = new Set<Listener>();

export function onCursor(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function moveCursor(ms: number | null): void {
  for (const listener of listeners) listener(ms);
}
