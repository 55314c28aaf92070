// Features with the largest weights, and those that changed most since a look some minutes ago. Names
// are those that the service has heard of; a slot without any is shown by its number.

import { get } from "./api.js";
import { el, fill, table } from "./dom.js";
import { fixed, short } from "./format.js";
import { choices, nothing, panel, signedBar } from "./panel.js";

const TOP = 12;
const BY = [
  ["by_weight", "Largest weights"],
  ["by_change", "Most changed"],
];

export function mount(section, context) {
  let found = null;
  let by = "by_weight";
  const path = () => context.path("/stats/features");
  const rows = () => (found?.[by] ?? []).map((row) => ({ ...row, names: row.names.join("; ") }));
  const { body, note } = panel(section, "Features", "", { json: path, rows });
  const place = el("div");
  const pick = (id) => {
    by = id;
    draw();
  };
  body.append(el("div", { class: "choices" }, choices("Features by", BY, by, pick)), place);
  function draw() {
    if (!found) return;
    const { since } = found;
    note(since ? `change since position ${since.position}, ${short(found.at - since.at)} s before` : "changes are known after a minute");
    const top = found[by].slice(0, TOP);
    fill(place, top.length ? listed(top, by) : nothing(by === "by_weight" ? "No weight yet." : "Nothing to compare with yet."));
  }
  async function refresh() {
    found = await get(path());
    draw();
  }
  return { refresh, model: () => (found = null), every: 60000 };
}

function listed(rows, by) {
  const figure = (row) => (by === "by_weight" ? row.weight : row.change);
  const widest = Math.max(...rows.map((row) => Math.abs(figure(row) ?? 0)), 1e-9);
  const columns = [
    { title: "feature", cell: nameOf },
    { title: "weight", number: true, cell: (row) => fixed(row.weight, 3) },
    { title: "change", number: true, cell: (row) => fixed(row.change, 3) },
    { title: by === "by_weight" ? "weight, drawn" : "change, drawn", cell: (row) => signedBar((figure(row) ?? 0) / widest) },
    { title: "n", number: true, cell: (row) => short(row.n) },
    { title: "slot", number: true, cell: (row) => String(row.slot) },
  ];
  return table(`Features, ${by === "by_weight" ? "largest weights" : "most changed"} first`, columns, rows);
}

function nameOf({ names, slot }) {
  if (!names.length) return el("span", { class: "quiet" }, `slot ${slot}`);
  return names.length === 1 ? names[0] : `${names[0]} and ${names.length - 1} more`;
}
