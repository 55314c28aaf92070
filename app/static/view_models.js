// Several models: each as it is now, side by side.

import { get, of } from "./api.js";
import { flat } from "./figures.js";
import { el, fill, table } from "./dom.js";
import { bytes, change, count, fixed } from "./format.js";
import { panel } from "./panel.js";
import { firstLine } from "./stream.js";

export function mount(section, context) {
  let rows = [];
  const { body } = panel(section, "Models", "the same figures of each model; the change is against the model shown", {
    json: () => "/models",
    rows: () => rows,
  });
  async function refresh() {
    const { models } = await get("/models");
    context.offer(models.map((one) => one.model));
    const loaded = models.filter((one) => one.examples !== undefined);
    const stats = await Promise.all(loaded.map((one) => firstLine(of(one.model, "/stats/stream")).then(flat, () => null)));
    const figures = new Map(loaded.map((one, i) => [one.model, stats[i]]));
    rows = models.map((one) => rowOf(one, figures.get(one.model) ?? {}));
    fill(body, compared(rows, rows.find((row) => row.model === context.model()), context));
  }
  return { refresh, model: refresh, every: 15000 };
}

function rowOf({ model, state, position, examples, memory_bytes }, { log_loss, auc, normalized_entropy, calibration, window = {} }) {
  return {
    model,
    state,
    position,
    examples,
    memory_bytes,
    log_loss,
    auc,
    normalized_entropy,
    calibration,
    window_log_loss: window.log_loss,
    window_auc: window.auc,
    window_normalized_entropy: window.normalized_entropy,
    window_calibration: window.calibration,
  };
}

function compared(rows, chosen, context) {
  const against = (row) => (row === chosen || !chosen?.window_normalized_entropy ? "" : change(row.window_normalized_entropy / chosen.window_normalized_entropy - 1));
  const columns = [
    { title: "model", cell: (row) => (row === chosen ? row.model : el("button", { type: "button", class: "plain", "aria-label": `Show ${row.model}`, click: () => context.choose(row.model) }, row.model)) },
    { title: "state", cell: (row) => row.state },
    { title: "position", number: true, cell: (row) => row.position ?? "" },
    { title: "examples", number: true, cell: (row) => count(row.examples) },
    { title: "log loss", number: true, cell: (row) => fixed(row.log_loss, 5) },
    { title: "AUC", number: true, cell: (row) => fixed(row.auc, 5) },
    { title: "calibration", number: true, cell: (row) => fixed(row.calibration, 5) },
    { title: "entropy, latest", number: true, cell: (row) => fixed(row.window_normalized_entropy, 5) },
    { title: "change", number: true, cell: against },
    { title: "memory", number: true, cell: (row) => bytes(row.memory_bytes) },
  ];
  return table("Models, compared", columns, rows);
}
