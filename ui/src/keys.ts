// The pages, and the keys that work everywhere but in a field. Those of a single key can be switched off: who speaks to the
// machine, or strays over the keyboard, would set them off without meaning to.
import { useEffect, useRef, useSyncExternalStore } from "react";
import { useLocation, useNavigate } from "react-router";
import type { Key } from "./i18n";
import type { IconName } from "./parts/icons";
import { keep } from "./parts/links";
import { switchFocus, usePanel } from "./parts/panel";
import { switchTwin } from "./parts/twin";
import { remember, remembered } from "./storage";
import { useTime } from "./time/useTime";

export const PAGES: { path: string; name: Key; icon: IconName; key: string }[] = [
  { path: "/", name: "page.now", icon: "now", key: "n" },
  { path: "/incidents", name: "page.incidents", icon: "incidents", key: "i" },
  { path: "/map", name: "page.map", icon: "map", key: "m" },
  { path: "/entities", name: "page.entities", icon: "entities", key: "e" },
  { path: "/explore", name: "page.explore", icon: "explore", key: "x" },
  { path: "/agent", name: "page.agent", icon: "agent", key: "a" },
];
/** After `g` the second key must follow within this. */
const CHORD_MS = 1500;

const STORED = "gala.keys";
let single = remembered(STORED) !== "off";
const listeners = new Set<() => void>();

export function setSingleKeys(on: boolean): void {
  single = on;
  remember(STORED, on ? "on" : "off");
  for (const listener of listeners) listener();
}

/** Whether single keys do something. */
export function useSingleKeys(): boolean {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => single,
  );
}

type Pressed = Pick<KeyboardEvent, "ctrlKey" | "metaKey" | "altKey"> & { getModifierState: (name: string) => boolean };

/** A command of the browser or the system, not a character: where `[` stands behind AltGr, that comes as Ctrl and Alt. */
export function isCommand(event: Pressed): boolean {
  if (event.metaKey) return true;
  return (event.ctrlKey || event.altKey) && !event.getModifierState("AltGraph");
}

export function useKeys(ask: (what: "search" | "keys") => void): void {
  const navigate = useNavigate();
  const location = useLocation();
  const time = useTime();
  const panel = usePanel();
  const chord = useRef(0);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        ask("search");
        return;
      }
      const target = event.target as HTMLElement;
      if (isCommand(event) || target.closest("input, textarea, select, dialog, [contenteditable]")) return;
      if (event.key === "Escape" && !event.defaultPrevented) {
        if (panel.id !== null) panel.close();
        else if (location.key !== "default") void navigate(-1);
        return;
      }
      // The list of keys holds their switch, so it opens in any case.
      if (event.key === "?") {
        event.preventDefault();
        ask("keys");
        return;
      }
      if (!single) return;
      const chorded = Date.now() - chord.current < CHORD_MS;
      chord.current = 0;
      if (chorded) {
        const page = PAGES.find((one) => one.key === event.key);
        if (!page) return;
        event.preventDefault();
        void navigate(keep(page.path, location.search));
      } else if (event.key === "g") chord.current = Date.now();
      else if (event.key === "/") {
        event.preventDefault();
        ask("search");
      } else if (event.key === "p") {
        if (switchFocus()) event.preventDefault();
      } else if (event.key === "[") time.step(-1);
      else if (event.key === "]") time.step(1);
      else if (event.key === "t")
        void navigate({ search: switchTwin(new URLSearchParams(location.search)).toString() }, { replace: true });
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [navigate, location, time, panel, ask]);
}
