// Is it learning: progressive log loss, normalized entropy or AUC, of the window and of the whole
// stream, over examples or over time, against what the base rate alone would reach.

import { Chart } from "./chart.js";
import { el, fill, table } from "./dom.js";
import { count, fixed, short } from "./format.js";
import { choices, panel } from "./panel.js";

const FIGURES = {
  log_loss: { title: "Log loss", names: ["window_log_loss", "log_loss", "base_log_loss"], better: "lower is better" },
  ne: { title: "Normalized entropy", names: ["window_ne", "ne", "one"], better: "lower is better; 1 is the base rate" },
  auc: { title: "AUC", names: ["window_auc", "auc", "half"], better: "higher is better; 0.5 is chance" },
};
const LABELS = ["latest 100,000", "whole stream", "base rate"];

export function mount(section, context) {
  let figure = "log_loss";
  let over = "examples";
  const rows = () => context.series.rows();
  const { body, note } = panel(section, "Learning", "", { json: () => context.path("/stats/history"), rows, chart: () => chart });
  const names = Object.entries(FIGURES).map(([id, { title }]) => [id, title]);
  const host = el("div");
  const twin = el("div");
  const pick = (choose) => (id) => {
    choose(id);
    chart.change(options(figure, over));
    draw();
  };
  body.append(
    el(
      "div",
      { class: "choices" },
      choices("Figure", names, figure, pick((id) => (figure = id))),
      choices("Over", [["examples", "Examples"], ["time", "Time"]], over, pick((id) => (over = id))),
    ),
    host,
    el("details", { toggle: () => draw() }, el("summary", {}, "As a table"), twin),
  );
  const chart = new Chart(host, options(figure, over));
  function draw() {
    note(FIGURES[figure].better);
    const chosen = FIGURES[figure].names;
    const columns = context.series.columns(over === "time" ? "time" : "examples", ...chosen);
    chart.set(columns, sentence(columns));
    if (twin.parentElement.open) fill(twin, numbers(context.series.rows(), chosen, figure));
  }
  return { line: draw };
}

function options(figure, over) {
  const { title } = FIGURES[figure];
  const time = over === "time";
  return {
    title: `${title} over ${over}`,
    height: 300,
    latest: true,
    x: { label: over, time, format: time ? (v) => new Date(1000 * v).toLocaleTimeString("en-GB") : short },
    y: { format: (v) => fixed(v, 4) },
    series: [
      { label: LABELS[0], colour: "accent", width: 2 },
      { label: LABELS[1], colour: "second", width: 1.5 },
      { label: LABELS[2], colour: "quiet", width: 1.5, dash: [5, 4] },
    ],
  };
}

function sentence([x, ...columns]) {
  if (!x.length) return "no examples yet";
  return columns.map((column, i) => `${LABELS[i]} ${fixed(column.at(-1), 4)}`).join(", ");
}

function numbers(rows, names, figure) {
  const step = Math.max(1, Math.ceil(rows.length / 20));
  const some = rows.filter((_, i) => (rows.length - 1 - i) % step === 0).reverse();
  const columns = [
    { title: "examples", number: true, cell: (row) => count(row.examples) },
    ...names.map((name, i) => ({ title: LABELS[i], number: true, cell: (row) => fixed(row[name], 5) })),
  ];
  return table(`${FIGURES[figure].title}, at most 20 points`, columns, some);
}
