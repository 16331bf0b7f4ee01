// What the page asks of the server.

/** A sentence of the server for the person at the page. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const GONE = "The studio does not answer; is it still running?";

async function fetched(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(GONE, 0);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  let message = `The studio answered with status ${response.status}.`;
  try {
    message = (await response.json()).error ?? message;
  } catch { /* not from us */ }
  return new ApiError(message, response.status);
}

function asJson(method, body, { signal, last }) {
  const options = { method, signal };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    // browsers keep only small requests alive beyond the page
    options.keepalive = Boolean(last) && options.body.length < 60000;
    options.headers = { "Content-Type": "application/json" };
  }
  return options;
}

/** A JSON answer. `request("POST", "/api/move/flow", {…}, {signal})`; `last`: also if the page goes away meanwhile. */
export async function request(method, path, body, { signal, last } = {}) {
  return (await fetched(path, asJson(method, body, { signal, last }))).json();
}

/** A binary answer, as an ArrayBuffer. */
export async function binary(method, path, body, { signal } = {}) {
  return (await fetched(path, asJson(method, body, { signal }))).arrayBuffer();
}

/**
 * The events of a stream, one after the other:
 * `for await (const event of events("/api/follow/run", {…}, {signal})) …`
 * Aborting the signal, or leaving the loop, ends the computation on the server.
 */
export async function* events(path, body, { signal } = {}) {
  const inner = new AbortController();
  if (signal) signal.addEventListener("abort", () => inner.abort(), { once: true });
  const response = await fetched(path, asJson("POST", body, { signal: inner.signal }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    while (true) {
      const { done, value } = await reader.read().catch((error) => {
        throw error.name === "AbortError" ? error : new ApiError(GONE, 0);
      });
      if (done) return;
      const lines = (text + value).split("\n");
      text = lines.pop();
      for (const line of lines) {
        const event = JSON.parse(line);
        if (event.error) throw new ApiError(event.error, 200);
        yield event;
      }
    }
  } finally {
    inner.abort();
  }
}

/** Send a file; `progress` is told the share that is sent. Gives the JSON answer. */
export function upload(path, file, { progress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    sent.open("POST", path);
    sent.setRequestHeader("X-Name", encodeURIComponent(file.name || "pasted picture"));
    sent.setRequestHeader("Content-Type", "application/octet-stream");
    if (progress) sent.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    if (signal) signal.addEventListener("abort", () => sent.abort(), { once: true });
    sent.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    sent.onerror = () => reject(new ApiError(GONE, 0));
    sent.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(sent.responseText);
      } catch { /* not from us */ }
      if (sent.status >= 200 && sent.status < 300) resolve(answer);
      else reject(new ApiError(answer.error ?? `The studio answered with status ${sent.status}.`, sent.status));
    };
    sent.send(file);
  });
}

/** Where a file of the session is. */
export const fileUrl = (id) => `/api/files/${id}`;

/** The same, to be saved under its name. */
export const downloadUrl = (id) => `/api/files/${id}?download`;

/**
 * Calls that overtake each other: while one runs, only the newest of those that come is kept.
 * `work(argument, signal)` runs again with it when the first is done.
 */
export function latest(work) {
  let running = false;
  let waiting;
  return async function call(argument) {
    waiting = { argument };
    if (running) return;
    running = true;
    try {
      while (waiting) {
        const next = waiting.argument;
        waiting = undefined;
        await work(next, () => waiting !== undefined);
      }
    } finally {
      running = false;
    }
  };
}
