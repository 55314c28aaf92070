// Is it healthy: pace and latency of the last minutes, log, checkpoint, durability, and where each
// replica stands. Digests of this moment cost a walk over the table, so they are asked for by hand.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { el, fill, table } from "./dom.js";
import { bytes, count, seconds, short } from "./format.js";
import { choices, list, panel, showList } from "./panel.js";

const CHARTS = {
  rates: {
    title: "Examples learned and requests to predict, a second",
    names: ["learn", "predict"],
    labels: ["learned", "predict"],
    format: short,
  },
  latency: {
    title: "Latency in milliseconds",
    names: ["learn_p99", "predict_p99", "learn_p50", "predict_p50"],
    labels: ["learn p99", "predict p99", "learn p50", "predict p50"],
    format: (v) => `${short(v)} ms`,
  },
};
const REPLICAS_SECONDS = 5;
const LOOKS = [
  { colour: "accent", width: 1.75 },
  { colour: "second", width: 1.75 },
  { colour: "accent", dash: [4, 4] },
  { colour: "second", dash: [4, 4] },
];

export function mount(section, context) {
  let chosen = "rates";
  let drawn = 0;
  const rows = () => context.paces.rows();
  const offers = { json: () => context.path("/stats"), rows, chart: () => chart };
  const { body } = panel(section, "Health", "this process, the last minutes", offers);
  const host = el("div");
  const place = el("div");
  const digests = el("div", { "aria-live": "polite" });
  const replicas = el("div");
  const pick = (id) => {
    chosen = id;
    chart.change(options(id));
    draw();
  };
  const ask = async () => {
    const told = await get(context.path("/stats")).catch((error) => ({ position: error.message }));
    fill(digests, list([["at position", told.position], ["digest", told.digest], ["state digest", told.state_digest]]));
  };
  body.append(
    el("div", { class: "choices" }, choices("Chart", [["rates", "Rates"], ["latency", "Latency"]], chosen, pick)),
    host,
    place,
    replicas,
    el("p", { class: "buttons" }, el("button", { type: "button", click: ask }, "Digests now")),
    digests,
  );
  const chart = new Chart(host, options(chosen));
  function draw() {
    const { names, labels, format } = CHARTS[chosen];
    const columns = context.paces.columns("time", ...names);
    const last = labels.map((label, i) => `${label} ${format(columns[i + 1].at(-1))}`);
    chart.set(columns, last.join(", "));
  }
  return {
    model: () => (drawn = 0),
    line(figures) {
      draw();
      showList(place, facts(figures));
      if (figures.at - drawn < REPLICAS_SECONDS) return;
      drawn = figures.at;
      fill(replicas, replicasOf(figures.replicas ?? []));
    },
  };
}

function options(id) {
  const { title, labels, format } = CHARTS[id];
  return {
    title,
    height: 120,
    latest: true,
    x: { label: "time", time: true, format: (v) => new Date(1000 * v).toLocaleTimeString("en-GB") },
    y: { format, range: (_, least, most) => [0, Math.max(1e-9, 1.1 * most)] },
    series: labels.map((label, i) => ({ label, ...LOOKS[i] })),
  };
}

function facts(line) {
  const { log = {}, checkpoint = {} } = line;
  const refused = line.durability_refused;
  return [
    ["state", line.state, line.state === "live" ? "good" : "bad"],
    ["durability", refused ?? line.durability, refused ? "bad" : "good"],
    ["examples", count(line.examples)],
    ["duplicates", count(line.duplicates)],
    ["position", line.position],
    ["log not folded yet", `${count(log.lag_entries)} entries`],
    ["log in Redis", bytes(log.bytes)],
    ["Redis answered", log.stale_seconds < 1.5 ? "just now" : `${seconds(log.stale_seconds)} ago`],
    ["checkpoint", checkpoint.age_seconds === null ? "none yet" : `${seconds(checkpoint.age_seconds)} ago, up to ${checkpoint.seq}`],
    ["open pages", count(line.streams)],
  ];
}

function replicasOf(replicas) {
  const columns = [
    { title: "replica", cell: (row) => `${row.replica}${row.this ? " (this)" : ""}` },
    { title: "position", number: true, cell: (row) => row.position ?? "–" },
    { title: "compared at", number: true, cell: (row) => row.compared?.position ?? "–" },
    { title: "digest there", cell: (row) => el("code", {}, (row.compared?.digest ?? "–").slice(0, 12)) },
    { title: "differed", number: true, cell: (row) => count(row.differences) },
  ];
  return table("Replicas", columns, replicas);
}
