// Is it calibrated: the rate of clicks against the prediction, bin by bin, with the 95 % interval of
// the rate and how many examples each bin holds. A learner that can be believed lies on the diagonal.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { el, fill, table } from "./dom.js";
import { count, fixed, percent, short } from "./format.js";
import { choices, panel } from "./panel.js";

const SPANS = [
  ["window", "Latest 100,000"],
  ["whole", "Whole stream"],
];
const LEAST = 20; // examples of a bin, below which its rate says nothing

export function mount(section, context) {
  let span = "window";
  let found = null;
  const path = () => context.path("/stats/reliability");
  const about = "rate of clicks by prediction, with 95 % intervals; on the diagonal it can be believed";
  const offers = { json: path, rows: () => (found ? rowsOf(found, span) : []), chart: () => diagram };
  const { body } = panel(section, "Calibration", about, offers);
  const host = el("div");
  const below = el("div");
  const twin = el("div");
  const details = el("details", { toggle: () => draw() }, el("summary", {}, "As a table"), twin);
  const pick = (id) => {
    span = id;
    draw();
  };
  body.append(el("div", { class: "choices" }, choices("Of", SPANS, span, pick)), host, below, details);
  const diagram = new Chart(host, reliability());
  const counts = new Chart(below, histogram());
  function draw() {
    if (!found) return;
    const rows = rowsOf(found, span).filter((row) => row.examples >= LEAST);
    const column = (name) => rows.map((row) => row[name]);
    const x = column("mean_prediction").map(logit);
    const [high, low] = ["mean_label_high", "mean_label_low"].map((name) => column(name).map(logit));
    const rate = column("mean_label").map((p) => (p > 0 ? logit(p) : null)); // no click at all: only the interval
    diagram.set([x, high, low, rate, x], sentence(rows));
    counts.set([x, column("examples")], `${count(rows.reduce((sum, row) => sum + row.examples, 0))} examples`);
    if (details.open) fill(twin, numbers(rows));
  }
  async function refresh() {
    found = await get(path());
    draw();
  }
  return { refresh, model: () => (found = null), every: 30000 };
}

/** Rows of the bins in use. */
export function rowsOf(found, span) {
  const kept = found[span];
  const rows = kept.examples.map((examples, i) => ({
    low: found.low[i],
    high: found.high[i],
    ...Object.fromEntries(Object.keys(kept).map((name) => [name, kept[name][i]])),
  }));
  return rows.filter((row) => row.examples > 0);
}

// Both axes are logits: one per cent has as much room as fifty, and the diagonal stays straight.
const LOGIT_MAX = 9.21; // 0.0001
const TICKS = [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999];
const logit = (p) => Math.max(-LOGIT_MAX, Math.min(LOGIT_MAX, Math.log(p / (1 - p))));
const ticks = TICKS.map(logit);
const share = (z) => `${Number((100 / (1 + Math.exp(-z))).toPrecision(3))} %`;
const splits = (_, __, least, most) => ticks.filter((z) => least <= z && z <= most);
const axis = { label: "prediction", format: share, splits };

function reliability() {
  return {
    title: "Rate of clicks by prediction",
    height: 215,
    x: axis,
    y: { format: share, splits },
    series: [
      { label: "95 % high", colour: "accent", width: 0 },
      { label: "95 % low", colour: "accent", width: 0 },
      { label: "rate of clicks", colour: "accent", width: 1.5, points: true },
      { label: "perfect", colour: "quiet", dash: [5, 4] },
    ],
    bands: [[1, 2, "accent"]],
    legend: false,
  };
}

function histogram() {
  return {
    title: "Examples by prediction",
    height: 84,
    x: axis,
    y: { format: short },
    series: [{ label: "examples", colour: "accent", fill: 0.35, width: 1, bars: 0.7 }],
    legend: false,
  };
}

function sentence(rows) {
  if (!rows.length) return "not enough examples yet";
  const inside = rows.filter((row) => row.mean_label_low <= row.mean_prediction && row.mean_prediction <= row.mean_label_high);
  return `in ${inside.length} of ${rows.length} bins the prediction lies in the 95 % interval of the rate`;
}

function numbers(rows) {
  const columns = [
    { title: "predictions", cell: (row) => `${percent(row.low, 2)} to ${percent(row.high, 2)}` },
    { title: "examples", number: true, cell: (row) => count(row.examples) },
    { title: "mean prediction", number: true, cell: (row) => fixed(row.mean_prediction, 5) },
    { title: "rate of clicks", number: true, cell: (row) => fixed(row.mean_label, 5) },
    { title: "95 %", number: true, cell: (row) => `${fixed(row.mean_label_low, 4)} to ${fixed(row.mean_label_high, 4)}` },
  ];
  return table("Rate of clicks by prediction", columns, rows);
}
