// What changed, and where: figures by the values of the features that the model's configuration names
// (`slices`). Against its own past, the overall figure, or another model.

import { get, of } from "./api.js";
import { el, fill, table } from "./dom.js";
import { change, count, fixed, percent } from "./format.js";
import { choices, nothing, panel } from "./panel.js";
import { Strip } from "./strip.js";

const ROWS_MAX = 40;
const FIGURES = [
  ["normalized_entropy", "Entropy"],
  ["calibration", "Calibration"],
  ["log_loss", "Log loss"],
  ["mean_label", "Click rate"],
];
const PAST = "its own past";
const OVERALL = "the overall figure";

export function mount(section, context) {
  let found = null;
  let other = null;
  const chosen = { figure: "normalized_entropy", against: PAST, slice: null };
  const path = () => context.path("/stats/slices");
  const about = "recent figures by the values of a feature: as wide as its impressions, coloured by change";
  const { body } = panel(section, "Slices", about, { json: path, rows: () => rows().map(flat), chart: () => strip });
  const slice = el("select", { id: "slice", change: () => pick("slice", slice.value) });
  const against = el("select", { id: "against", change: () => pick("against", against.value) });
  const host = el("div");
  const place = el("div");
  body.append(
    el(
      "div",
      { class: "choices" },
      el("label", { class: "inline", for: "slice" }, "Slice"),
      slice,
      choices("Figure", FIGURES, chosen.figure, (id) => pick("figure", id)),
      el("label", { class: "inline", for: "against" }, "against"),
      against,
    ),
    host,
    place,
  );
  const strip = new Strip(host, "Impressions by value, coloured by change");

  async function pick(name, value) {
    chosen[name] = value;
    if (name === "against") await compare();
    draw();
  }
  async function compare() {
    const model = context.models().includes(chosen.against) ? chosen.against : null;
    other = model === null ? null : await get(of(model, "/stats/slices")).catch(() => null);
  }
  const tableOf = (document) => document?.slices.find((one) => one.name === chosen.slice);
  const rows = () => changes(tableOf(found)?.values ?? [], chosen, tableOf(other)?.values);

  function draw() {
    const names = (found?.slices ?? []).map((one) => one.name);
    if (!names.includes(chosen.slice)) chosen.slice = names[0] ?? null;
    options(slice, names, chosen.slice);
    options(against, [PAST, OVERALL, ...context.models().filter((one) => one !== context.model())], chosen.against);
    if (!names.length) {
      fill(place, nothing("No slices yet: the model's configuration names the features, {\"slices\": [\"site\", …]}."));
      strip.set([], "none");
      return;
    }
    const all = rows();
    strip.set(
      all.map((row) => ({ name: row.name, size: row.recent.examples, change: row.change })),
      all.slice(0, 5).map((row) => `${row.name} ${change(row.change)}`).join(", "),
    );
    if (!all.length) fill(place, nothing("No example since the model has these slices, or was restored."));
    else fill(place, numbers(all.slice(0, ROWS_MAX), chosen, all.length));
  }
  async function refresh() {
    found = await get(path());
    await compare();
    draw();
  }
  return { refresh, model: () => (found = other = null), every: 30000 };
}

function options(select, names, chosen) {
  const shown = [...select.options].map((one) => one.value);
  if (shown.join("\n") !== names.join("\n")) fill(select, names.map((name) => el("option", { value: name }, name)));
  select.value = chosen ?? "";
}

/** Rows with a name and the change of the chosen figure, most impressions first. */
function changes(values, { figure, against, slice }, others) {
  const overall = mean(values, figure);
  const theirs = new Map((others ?? []).map((one) => [keyOf(one), one.recent[figure]]));
  const base = (row) => {
    if (others) return theirs.get(keyOf(row));
    return against === OVERALL ? overall : row[figure];
  };
  return values
    .filter((row) => row.recent.examples > 0)
    .map((row) => ({ ...row, name: nameOf(row, slice), change: ratio(row.recent[figure], base(row)) }))
    .sort((a, b) => b.recent.examples - a.recent.examples);
}

const ratio = (a, b) => (Number.isFinite(a) && b ? a / b - 1 : null);

function mean(values, figure) {
  const known = values.filter((row) => Number.isFinite(row.recent[figure]));
  const weight = known.reduce((sum, row) => sum + row.recent.examples, 0);
  return weight ? known.reduce((sum, row) => sum + row.recent.examples * row.recent[figure], 0) / weight : null;
}

// The same value has the same hash in models of one hash seed.
const keyOf = ({ kind, hash }) => `${kind} ${hash}`;

// Names are known as `name=value`.
function nameOf({ value, kind, hash }, slice) {
  const prefix = `${slice}=`;
  if (kind === "value" && value === null) return `#${hash}`;
  if (kind === "value") return value.startsWith(prefix) ? value.slice(prefix.length) : value;
  return { number: "any number", other: "all others", missing: "without it" }[kind] ?? kind;
}

function numbers(rows, { slice, against }, total) {
  const columns = [
    { title: slice, cell: (row) => row.name },
    { title: "examples", number: true, cell: (row) => count(row.recent.examples) },
    { title: "click rate", number: true, cell: (row) => percent(row.recent.mean_label, 2) },
    { title: "predicted", number: true, cell: (row) => percent(row.recent.mean_prediction, 2) },
    { title: "calibration", number: true, cell: (row) => fixed(row.recent.calibration, 3) },
    { title: "log loss", number: true, cell: (row) => fixed(row.recent.log_loss, 4) },
    { title: "entropy", number: true, cell: (row) => fixed(row.recent.normalized_entropy, 3) },
    { title: `change against ${against}`, number: true, cell: (row) => change(row.change) },
  ];
  const shown = rows.length < total ? `Slices: the ${rows.length} of ${total} values seen most` : "Slices";
  return table(shown, columns, rows);
}

const flat = ({ recent, ...row }) => ({
  ...row,
  ...Object.fromEntries(Object.entries(recent).map(([name, value]) => [`recent.${name}`, value])),
});
