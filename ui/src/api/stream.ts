// The live stream. One event source for the whole interface; each topic makes the answers that hang on it stale, at most
// once in five seconds. When the stream or the hub is lost, pages say since when. A tab nobody looks at has no stream: a browser
// opens six connections to a hub, for all its tabs together, and asks nothing for it.
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { Alive } from "./alive";
import { API, get, onAnswer } from "./client";
import type { AgentPulse, Topic } from "./types";

export interface StreamState {
  /** Null while the hub is heard of. */
  lostSince: number | null;
  pulse: AgentPulse | null;
}

const TOPICS: readonly Topic[] = ["topology", "anomaly", "root_cause", "agent"];
/** First part of the query keys that a topic touches. */
const TOUCHES: Record<Topic, readonly string[]> = {
  topology: ["topology", "entity"],
  anomaly: ["anomaly", "services", "entity"],
  root_cause: ["fault", "anomaly"],
  agent: ["agent", "health"],
};
const QUIET_MS = 5000;
/** A reconnect this quick is not worth a word. */
const GRACE_MS = 4000;
/** How often it is looked whether the hub was heard of, and how long it may take to say that it is there. */
const CHECK_MS = 5000;
const CHECK_LIMIT_MS = 5000;
/** A tab hidden for less keeps its stream: who looks something up elsewhere is soon back. */
const HIDDEN_MS = 3000;

let state: StreamState = { lostSince: null, pulse: null };
const listeners = new Set<() => void>();

function set(next: Partial<StreamState>): void {
  state = { ...state, ...next };
  for (const listener of listeners) listener();
}

export function startStream(client: QueryClient): () => void {
  const last = new Map<Topic, number>();
  const pending = new Map<Topic, ReturnType<typeof setTimeout>>();
  let source: EventSource | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let grace: ReturnType<typeof setTimeout> | undefined;
  const alive = new Alive(
    Date.now,
    () => get("/health", {}, undefined, CHECK_LIMIT_MS),
    (lostSince) => {
      if (lostSince === state.lostSince) return;
      const isBack = lostSince === null;
      set({ lostSince });
      if (isBack) void client.invalidateQueries();
      // A connection that looks open while nobody answers may be dead for good.
      else if (source?.readyState === EventSource.OPEN) reopen();
    },
  );
  const stopListening = onAnswer(() => alive.heard());
  const checking = setInterval(() => source !== null && void alive.check(), CHECK_MS);

  const invalidate = (topic: Topic) => {
    last.set(topic, Date.now());
    pending.delete(topic);
    for (const key of TOUCHES[topic]) void client.invalidateQueries({ queryKey: [key] });
  };
  const touched = (topic: Topic) => {
    if (pending.has(topic)) return;
    const wait = (last.get(topic) ?? 0) + QUIET_MS - Date.now();
    if (wait <= 0) invalidate(topic);
    else
      pending.set(
        topic,
        setTimeout(() => invalidate(topic), wait),
      );
  };

  const open = () => {
    source = new EventSource(`${API}/stream?topics=${TOPICS.join(",")}`);
    source.onopen = () => {
      clearTimeout(grace);
      grace = undefined;
      alive.opened();
    };
    source.onerror = () => {
      const since = Date.now();
      grace ??= setTimeout(() => alive.broken(since), GRACE_MS);
      if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, QUIET_MS);
    };
    for (const topic of TOPICS)
      source.addEventListener(topic, (event) => {
        alive.heard();
        if (topic === "agent") readPulse((event as MessageEvent<string>).data);
        touched(topic);
      });
  };
  const reopen = () => {
    clearTimeout(retry);
    source?.close();
    open();
  };
  const letGo = () => {
    clearTimeout(retry);
    clearTimeout(grace);
    grace = undefined;
    source?.close();
    source = null;
    for (const timer of pending.values()) clearTimeout(timer);
    pending.clear();
  };
  let hiding: ReturnType<typeof setTimeout> | undefined;
  const onSight = () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(letGo, HIDDEN_MS);
    else if (source === null) {
      open();
      void client.invalidateQueries();
    }
  };
  document.addEventListener("visibilitychange", onSight);
  // A link opened in the background waits to be looked at.
  if (!document.hidden) open();

  return () => {
    document.removeEventListener("visibilitychange", onSight);
    clearTimeout(hiding);
    letGo();
    stopListening();
    clearInterval(checking);
  };
}

function readPulse(data: string): void {
  try {
    const pulse = JSON.parse(data) as Partial<AgentPulse>;
    if (typeof pulse.cpu_ratio === "number" && typeof pulse.memory_bytes === "number") set({ pulse: pulse as AgentPulse });
  } catch {
    // A malformed pulse changes nothing; the budget is asked for anyway.
  }
}

export function useStream(): StreamState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}
