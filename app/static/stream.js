// A stream of JSON lines, read with fetch() so that a key can be sent. It is opened again after an
// end or a failure, later and later (1 s to 30 s, with jitter), and closed while nobody looks: a tab
// that is hidden costs the server nothing. At most one unfinished line is held.

import { request } from "./api.js";

const WAIT_MIN = 1000;
const WAIT_MAX = 30000;
const LINE_MAX = 1 << 20;

/** The newest line of a stream: what is known without a walk over the table. */
export async function firstLine(path) {
  const abort = new AbortController();
  const reply = await request(`${path}?seconds=1.5`, { signal: abort.signal });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { value, done } = await reader.read();
    text += value ?? "";
    if (!done && !text.includes("\n")) continue;
    await reader.cancel();
    abort.abort();
    return JSON.parse(text.slice(0, text.indexOf("\n")));
  }
}

/** Calls onLine(object) for each line and onState("live" | "waiting" | "paused", error). */
export class LineStream {
  #path;
  #onLine;
  #onState;
  #closed = false;
  #abort = new AbortController();
  #wake = () => {};
  #visible = () => (document.hidden ? this.#abort.abort() : this.#wake());

  constructor(path, onLine, onState) {
    this.#path = path;
    this.#onLine = onLine;
    this.#onState = onState;
    document.addEventListener("visibilitychange", this.#visible);
    this.#run();
  }

  close() {
    this.#closed = true;
    document.removeEventListener("visibilitychange", this.#visible);
    this.#abort.abort();
    this.#wake();
  }

  async #run() {
    let wait = WAIT_MIN;
    while (!this.#closed) {
      if (document.hidden) {
        this.#onState("paused");
        await this.#sleep(null);
        continue;
      }
      let error = null;
      try {
        this.#abort = new AbortController();
        const reply = await request(this.#path, { signal: this.#abort.signal });
        await this.#read(reply.body.pipeThrough(new TextDecoderStream()).getReader(), () => {
          wait = WAIT_MIN;
        });
      } catch (caught) {
        error = caught;
      }
      if (this.#closed || document.hidden) continue;
      this.#onState("waiting", error);
      await this.#sleep(wait * (0.75 + 0.5 * Math.random()));
      wait = Math.min(2 * wait, WAIT_MAX);
    }
  }

  async #read(reader, onFirst) {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      if (rest.length > LINE_MAX) throw new Error("a line of the stream is too long");
      for (const line of lines) {
        if (!line || this.#closed) continue;
        onFirst();
        this.#onState("live");
        await this.#onLine(JSON.parse(line));
      }
    }
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = milliseconds === null ? null : setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
