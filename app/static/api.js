// Requests to the service that served this page. A key goes into the Authorization header and is kept
// in sessionStorage at most: it ends with the tab. A key that was asked for one action is not kept.

const STORED = "clickfold.key";

/** What the service refused: the fields of its problem document. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.kind = String(problem.type ?? "").replace("/problems/", "");
  }
}

export const key = {
  get: () => sessionStorage.getItem(STORED),
  keep: (value) => sessionStorage.setItem(STORED, value),
  forget: () => sessionStorage.removeItem(STORED),
};

/** The path of a model's route. */
export function of(model, path = "") {
  return `/models/${encodeURIComponent(model)}${path}`;
}

/** A Response that is ok; throws Refused, or TypeError when there is no answer. */
export async function request(path, { method = "GET", body, type, signal, once } = {}) {
  const presented = once ?? key.get();
  const headers = {};
  if (presented) headers.authorization = `Bearer ${presented}`;
  if (body !== undefined) headers["content-type"] = type ?? "application/json";
  const sent = body === undefined || type ? body : JSON.stringify(body);
  const reply = await fetch(path, { method, headers, body: sent, signal, cache: "no-store" });
  if (reply.ok) return reply;
  const problem = await reply.json().catch(() => ({}));
  if (reply.status === 401) dispatchEvent(new Event("clickfold:key-needed"));
  throw new Refused(reply.status, problem);
}

/** The JSON of a GET. */
export async function get(path, options) {
  return (await request(path, options)).json();
}
