// The live stream. One event source for the whole interface; each topic makes the answers that hang on it stale, at most
// once in five seconds. When the stream is lost, pages say since when.
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { API } from "./client";
import type { AgentPulse, Topic } from "./types";

export interface StreamState {
  /** Null while connected. */
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
      if (state.lostSince !== null) {
        set({ lostSince: null });
        void client.invalidateQueries();
      }
    };
    source.onerror = () => {
      const since = Date.now();
      grace ??= setTimeout(() => set({ lostSince: state.lostSince ?? since }), GRACE_MS);
      if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, QUIET_MS);
    };
    for (const topic of TOPICS)
      source.addEventListener(topic, (event) => {
        if (topic === "agent") readPulse((event as MessageEvent<string>).data);
        touched(topic);
      });
  };
  open();

  return () => {
    source?.close();
    clearTimeout(retry);
    clearTimeout(grace);
    for (const timer of pending.values()) clearTimeout(timer);
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
