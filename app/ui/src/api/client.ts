// Requests to the API: who asks goes along, errors have the server's own text, and all can be given up.
import { identity, loginAsked } from "../state/session.ts";

/** status: 0 where the server did not answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export type Params = Record<string, string | number | boolean | null | undefined>;

export interface Ask {
  params?: Params;
  signal?: AbortSignal | undefined;
  method?: string;
  /** Sent as JSON. */
  body?: unknown;
  accept?: string;
}

export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

/** The answer, whatever its form. Throws ApiError. */
export async function ask(path: string, { params = {}, signal, method = "GET", body, accept }: Ask = {}): Promise<Response> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) query.set(name, String(value));
  }
  const text = query.toString();
  const headers: Record<string, string> = { ...identity(), Accept: accept ?? "application/json" };
  // Pages of other sites cannot send it without asking first.
  if (method !== "GET") headers["X-Stretto-Page"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    const init: RequestInit = { method, headers, cache: "no-store", credentials: "same-origin" };
    if (signal) init.signal = signal;
    if (body !== undefined) init.body = JSON.stringify(body);
    response = await fetch(text ? `${path}?${text}` : path, init);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, "The server does not answer. It may be restarting, or the network is down.");
  }
  if (!response.ok) throw await refused(response);
  return response;
}

async function refused(response: Response): Promise<ApiError> {
  const text = (await response.text().catch(() => "")).trim() || `${response.status} ${response.statusText}`;
  if (response.status === 401 || response.status === 403) loginAsked.value = text;
  return new ApiError(response.status, text);
}

/** The JSON of an answer. Throws ApiError. */
export async function getJson<T>(path: string, options: Ask = {}): Promise<T> {
  const response = await ask(path, options);
  return (await response.json()) as T;
}

/** Each line of an answer of JSON lines, as soon as it is here. Throws ApiError, also for an error within the stream. */
export async function streamJson<T>(path: string, onLine: (value: T) => void, options: Ask = {}): Promise<void> {
  const response = await ask(path, { ...options, accept: "application/x-ndjson" });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error: unknown) => {
      if (isAbort(error)) throw error;
      throw new ApiError(0, "The server went away in the middle of its answer.");
    });
    rest += value ?? "";
    const lines = rest.split("\n");
    rest = done ? "" : lines.pop()!;
    for (const line of lines) if (line) onLine(unlessError<T>(line));
    if (done) return;
  }
}

function unlessError<T>(line: string): T {
  const value = JSON.parse(line) as T & { error?: { status: number; message: string } };
  if (value.error) throw new ApiError(value.error.status, value.error.message);
  return value;
}
