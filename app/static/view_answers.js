// The row at the top: four questions, each with a word, a figure and its course so far.

import { el, fill, svg } from "./dom.js";
import { calibrated, changed, healthy, learning } from "./verdicts.js";

const QUESTIONS = [
  ["Is it learning?", "normalized entropy, latest 100,000", learning, (row) => row.window_ne, "#learning"],
  ["Is it calibrated?", "predicted over actual clicks", calibrated, (row) => row.window_calibration, "#calibration"],
  ["Is it healthy?", "position in the log; examples a second", healthy, null, "#health"],
  ["What changed?", "normalized entropy, latest against all", changed, (row) => row.window_ne / row.ne, "#slices"],
];
const POINTS = 60;

export function mount(section, context) {
  const cards = QUESTIONS.map(([question, unit, ask, value, target]) => {
    const body = el("div", { class: "answer" });
    const line = svg("polyline", { fill: "none", "vector-effect": "non-scaling-stroke" });
    const spark = svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, line);
    const title = el("h2", {}, el("a", { href: target }, question));
    const card = el("article", { class: "card" }, title, body, spark, el("p", { class: "unit" }, unit));
    return { card, body, line, ask, value, told: null };
  });
  fill(section, cards.map((one) => one.card));
  return {
    line(figures) {
      const rows = context.series.rows().slice(-POINTS);
      const rates = context.paces.rows().slice(-POINTS).map((row) => row.learn);
      for (const one of cards) show(one, one.ask(figures), one.value ? rows.map(one.value) : rates);
    },
  };
}

// Only what changed is written: a line comes every second, and the words seldom change.
function show(one, verdict, values) {
  one.line.setAttribute("points", spark(values));
  const told = JSON.stringify(verdict);
  if (one.told === told) return;
  one.told = told;
  one.card.dataset.kind = verdict.kind;
  fill(
    one.body,
    el("p", { class: "verdict" }, el("span", { class: "mark", "aria-hidden": "true" }), el("strong", {}, verdict.word)),
    el("p", { class: "figure" }, verdict.figure),
    el("p", { class: "sentence" }, verdict.sentence),
  );
}

function spark(values) {
  const known = values.filter((v) => Number.isFinite(v));
  if (known.length < 2) return "";
  const least = Math.min(...known);
  const span = Math.max(...known) - least || 1;
  const step = 100 / (known.length - 1);
  return known.map((v, i) => `${(i * step).toFixed(1)},${(22 - (20 * (v - least)) / span).toFixed(1)}`).join(" ");
}
