// The figures of a model, line by line.

import { get } from "./api.js";

const EVERY = 2000;

/** Calls onLine for each line until it is closed. */
export function follow(path, onLine, onState) {
  let closed = false;
  async function ask() {
    if (document.hidden) return onState("paused");
    try {
      const line = await get(path("/stats"));
      if (closed) return;
      onState("live");
      onLine(line);
    } catch (error) {
      onState("waiting", error);
    }
  }
  ask();
  const timer = setInterval(ask, EVERY);
  return {
    close() {
      closed = true;
      clearInterval(timer);
    },
  };
}
