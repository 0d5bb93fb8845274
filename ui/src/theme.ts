// The two themes: the system's preference until one is chosen.
import { useSyncExternalStore } from "react";
import { remember, remembered } from "./storage";

export type Theme = "light" | "dark";
const STORED = "gala.theme";
const listeners = new Set<() => void>();
const system = matchMedia("(prefers-color-scheme: dark)");

function chosen(): Theme | null {
  const text = new URLSearchParams(location.search).get("theme") ?? remembered(STORED);
  return text === "light" || text === "dark" ? text : null;
}

function apply(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
  for (const listener of listeners) listener();
}

export function startTheme(): void {
  apply(chosen() ?? (system.matches ? "dark" : "light"));
  system.addEventListener("change", () => {
    if (!chosen()) apply(system.matches ? "dark" : "light");
  });
}

export function current(): Theme {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

export function toggleTheme(): void {
  const next = current() === "dark" ? "light" : "dark";
  remember(STORED, next);
  apply(next);
}

export function useTheme(): Theme {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, current);
}
