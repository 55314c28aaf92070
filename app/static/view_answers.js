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
    const line = svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" });
    const title = el("h2", {}, el("a", { href: target }, question));
    const card = el("article", { class: "card" }, title, body, line, el("p", { class: "unit" }, unit));
    return { card, body, line, ask, value };
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

function show({ card, body, line }, { kind, word, sentence, figure }, values) {
  card.dataset.kind = kind;
  fill(
    body,
    el("p", { class: "verdict" }, el("span", { class: "mark", "aria-hidden": "true" }), el("strong", {}, word)),
    el("p", { class: "figure" }, figure),
    el("p", { class: "sentence" }, sentence),
  );
  line.replaceChildren(...spark(values));
}

function spark(values) {
  const known = values.filter((v) => Number.isFinite(v));
  if (known.length < 2) return [];
  const least = Math.min(...known);
  const span = Math.max(...known) - least || 1;
  const step = 100 / (known.length - 1);
  const points = known.map((v, i) => `${(i * step).toFixed(1)},${(22 - (20 * (v - least)) / span).toFixed(1)}`);
  return [svg("polyline", { points: points.join(" "), fill: "none", "vector-effect": "non-scaling-stroke" })];
}
