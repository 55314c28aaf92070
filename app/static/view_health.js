// Is it healthy: pace, log, checkpoint, durability, and where this replica stands.

import { el, fill } from "./dom.js";
import { bytes, count, seconds, short } from "./format.js";
import { panel } from "./panel.js";

export function mount(section, context) {
  let latest = {};
  const rows = () => facts(latest, 0).map(([name, value]) => ({ name, value }));
  const { body } = panel(section, "Health", "this replica, now", { json: () => context.path("/stats"), rows });
  return {
    line(figures) {
      latest = figures;
      fill(body, list(facts(figures, context.rate())));
    },
  };
}

function facts(line, rate) {
  const checkpoint = line.checkpoint ?? {};
  const age = checkpoint.committed_at ? Date.now() / 1000 - checkpoint.committed_at : null;
  return [
    ["state", line.state, line.state === "live" ? "good" : "bad"],
    ["learning", `${short(rate)} examples/s`],
    ["examples", count(line.examples)],
    ["duplicates", count(line.duplicates)],
    ["position", line.position],
    ["digest", line.digest],
    ["state digest", line.state_digest],
    ["durability", line.durability_refused ?? line.durability, line.durability_refused ? "bad" : "good"],
    ["Redis answered", line.stale_seconds < 1 ? "just now" : `${seconds(line.stale_seconds)} ago`],
    ["log in Redis", bytes(line.log_bytes)],
    ["checkpoint", age === null ? "none yet" : `${seconds(age)} ago, up to ${checkpoint.seq}`],
    ["digests compared", `${count(line.digest_comparisons)}, differed ${count(line.digest_differences)}`],
    ["event ids remembered", line.deduplication_window_seconds ? `back to ${seconds(line.deduplication_window_seconds)} ago` : "–"],
  ].filter(([, value]) => value !== undefined);
}

/** A list of names and values; a third item colours the value. */
export function list(entries) {
  return el(
    "dl",
    { class: "facts" },
    entries.map(([name, value, kind]) => el("div", {}, el("dt", {}, name), el("dd", { class: kind }, String(value)))),
  );
}
