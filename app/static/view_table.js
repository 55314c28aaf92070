// The table: how full it is, how many features share a slot, how weights and n are spread.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { el, fill } from "./dom.js";
import { count, percent, short } from "./format.js";
import { choices, list, panel } from "./panel.js";

const HISTOGRAMS = {
  weights: { title: "Slots by weight", marks: [-8, -0.25, 0, 0.25, 8] },
  n: { title: "Slots by n", marks: [2 ** -20, 2 ** -10, 1, 2 ** 10, 2 ** 20] },
};
const NAMES = [
  ["weights", "Weights"],
  ["n", "n"],
];

export function mount(section, context) {
  let found = null;
  let chosen = "weights";
  const path = () => context.path("/stats/table");
  const rows = () => (found ? rowsOf(found[chosen]) : []);
  const { body } = panel(section, "Table", "how full it is, and how its weights are spread", { json: path, rows, chart: () => chart });
  const host = el("div");
  const place = el("div");
  const pick = (id) => {
    chosen = id;
    chart.change(options(id, found?.[id]));
    draw();
  };
  body.append(el("div", { class: "choices" }, choices("Histogram of", NAMES, chosen, pick)), host, place);
  const chart = new Chart(host, options(chosen, null));
  function draw() {
    if (!found) return;
    const bins = found[chosen];
    const used = bins.count.map((_, i) => i);
    chart.set([used, bins.count], `${count(found.used)} of ${count(found.slots)} slots are used`);
    fill(place, list(facts(found)));
  }
  async function refresh() {
    const first = found === null;
    found = await get(path());
    if (first) chart.change(options(chosen, found[chosen]));
    draw();
  }
  return { refresh, model: () => (found = null), every: 60000 };
}

const rowsOf = ({ low, high, count: counts }) => counts.map((size, i) => ({ low: low[i], high: high[i], slots: size }));

function options(id, bins) {
  const { title, marks } = HISTOGRAMS[id];
  const at = bins ? marks.map((mark) => bins.low.indexOf(mark)).filter((i) => i >= 0) : [];
  return {
    title,
    height: 130,
    x: { label: "bin", format: (i) => (bins ? short(bins.low[i]) : ""), splits: () => at },
    y: { format: short },
    series: [{ label: "slots", colour: "accent", fill: 0.35, width: 1, bars: 0.8 }],
    legend: false,
  };
}

function facts({ slots, used, occupancy, sparsity, estimated, names }) {
  return [
    ["slots", count(slots)],
    ["used", `${count(used)}, ${percent(occupancy)}`],
    ["of these at zero", percent(sparsity)],
    ["features met, estimated", count(estimated.features)],
    ["of these share a slot, estimated", percent(estimated.colliding_share)],
    ["of the names known share a slot", `${count(names.sharing)} of ${count(names.known)}`],
  ];
}
