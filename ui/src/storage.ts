// What the browser keeps for this interface. Where it keeps nothing (storage is forbidden or full) everything works, and is forgotten.

type Kind = "local" | "session";
const of = (kind: Kind): Storage => (kind === "local" ? window.localStorage : window.sessionStorage);

export function remembered(name: string, kind: Kind = "local"): string | null {
  try {
    return of(kind).getItem(name);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string, kind: Kind = "local"): void {
  try {
    of(kind).setItem(name, value);
  } catch {
    // Forgotten with the page, then.
  }
}
