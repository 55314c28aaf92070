// Calibration over time: sum of predictions over sum of clicks, of the latest examples and of all.

import { Chart } from "./chart.js";
import { el } from "./dom.js";
import { fixed, short } from "./format.js";
import { panel } from "./panel.js";

export function mount(section, context) {
  const rows = () => context.series.rows().map(({ examples, calibration, window_calibration }) => ({ examples, window_calibration, calibration }));
  const offers = { json: () => context.path("/stats/history"), rows, chart: () => chart };
  const { body } = panel(section, "Calibration over time", "1 is right; above, too many clicks are predicted", offers);
  const host = el("div");
  body.append(host);
  const chart = new Chart(host, {
    title: "Predicted over actual clicks",
    height: 215,
    latest: true,
    x: { label: "examples", format: short },
    y: { format: (v) => fixed(v, 3), range: around },
    series: [
      { label: "latest 100,000", colour: "accent", width: 2 },
      { label: "whole stream", colour: "second" },
      { label: "right", colour: "quiet", dash: [5, 4] },
    ],
  });
  return {
    line() {
      const columns = context.series.columns("examples", "window_calibration", "calibration", "one");
      const last = columns.slice(1, 3).map((column) => fixed(column.at(-1), 3));
      chart.set(columns, `latest 100,000 ${last[0]}, whole stream ${last[1]}`);
    },
  };
}

// 1 is always in sight, and a calm curve is not blown up to a wild one.
function around(_, least, most) {
  const reach = Math.max(0.05, 1.1 * Math.abs(1 - least), 1.1 * Math.abs(most - 1));
  return [1 - reach, 1 + reach];
}
