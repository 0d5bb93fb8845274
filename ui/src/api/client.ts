// One way to ask the hub: same origin, JSON, a time limit, errors with the request id so that they can be found in its log.
import type { ErrorBody, PromAnswer } from "./types";

export const API = "/api/v1";

export type Params = Record<string, string | number | boolean | null | undefined | readonly string[]>;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export function query(params: Params): string {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === null || value === undefined || value === "") continue;
    if (Array.isArray(value)) for (const one of value as readonly string[]) out.append(name, one);
    else out.set(name, String(value));
  }
  const text = out.toString();
  return text ? `?${text}` : "";
}

/** Longer than this a page's answer never takes. */
const LIMIT_MS = 30_000;
/** The hub lets a query wait for 10 s and run for 60 s. */
const QUERY_LIMIT_MS = 75_000;

export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal, limitMs = LIMIT_MS): Promise<T> {
  return request<T>(`${API}${path}${query(params)}`, { signal, headers: { Accept: "application/json" } }, limitMs);
}

const heard = new Set<() => void>();

/** Tells when the hub answered, whatever it said. */
export function onAnswer(listener: () => void): () => void {
  heard.add(listener);
  return () => heard.delete(listener);
}

export const post = <T>(path: string, body: unknown): Promise<T> => send("POST", path, body);
export const put = <T>(path: string, body: unknown): Promise<T> => send("PUT", path, body);

async function send<T>(method: "POST" | "PUT", path: string, body: unknown): Promise<T> {
  const init = { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return request<T>(`${API}${path}`, init, QUERY_LIMIT_MS);
}

/** Prometheus endpoints: long queries go as a form, so that no URL gets too long. */
export async function prom<T>(path: string, params: Params, signal?: AbortSignal): Promise<PromAnswer<T>> {
  const text = query(params).slice(1);
  if (text.length < 2000) return request(`${API}${path}?${text}`, { signal }, QUERY_LIMIT_MS);
  const form = { "Content-Type": "application/x-www-form-urlencoded" };
  return request(`${API}${path}`, { method: "POST", signal, headers: form, body: text }, QUERY_LIMIT_MS);
}

/** The answer with its text; what does not come within the limit is given up. */
async function fetched(url: string, init: RequestInit, limitMs: number): Promise<{ response: Response; body: string }> {
  const stop = new AbortController();
  const outer = init.signal;
  const letGo = () => stop.abort(outer?.reason);
  if (outer?.aborted) letGo();
  outer?.addEventListener("abort", letGo);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    stop.abort();
  }, limitMs);
  try {
    const response = await fetch(url, { ...init, signal: stop.signal });
    return { response, body: await response.text() };
  } catch (cause) {
    if (isLate) throw new ApiError(0, "timeout", `the hub did not answer within ${limitMs / 1000} s`, null);
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError(0, "unreachable", "the hub does not answer: it stopped, or the network between is gone", null);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", letGo);
  }
}

async function request<T>(url: string, init: RequestInit, limitMs: number): Promise<T> {
  const { response, body } = await fetched(url, init, limitMs);
  for (const listener of heard) listener();
  const id = response.headers.get("x-request-id");
  if (response.ok || (response.status === 503 && url.endsWith("/health"))) {
    if (body === "") return undefined as T;
    try {
      return JSON.parse(body) as T;
    } catch {
      throw new ApiError(response.status, "not_json", `${url.split("?")[0]} answered something that is not JSON`, id);
    }
  }
  throw errorOf(response.status, body, id);
}

/** Reads both error formats: the hub's own and Prometheus's. */
export function errorOf(status: number, body: string, id: string | null): ApiError {
  try {
    const parsed = JSON.parse(body) as Partial<ErrorBody> & { errorType?: string };
    if (typeof parsed.error === "string") return new ApiError(status, parsed.errorType ?? "error", parsed.error, id);
    if (parsed.error) return new ApiError(status, parsed.error.code, parsed.error.message, id);
  } catch {
    // not JSON: a proxy's page; its text helps nobody
  }
  return new ApiError(status, "http", `the hub answered with status ${status}`, id);
}
