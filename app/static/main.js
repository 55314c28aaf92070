// The page: which model is shown, the stream of its figures, and the views that draw them.
//
//   history, once ─┐
//   stream of lines ┴► series (bounded) ─► view.line(figures)      every view, every line
//   clock ──────────► view.refresh() where it is on screen         what costs a request
//
// A view is {line, refresh, every, model}, each optional. No view fetches while the tab is hidden.

import { get, key, of } from "./api.js";
import { ask } from "./dialog.js";
import { el, fill } from "./dom.js";
import { flat, PACE, pace, point, SERIES } from "./figures.js";
import { short } from "./format.js";
import { pointsOf } from "./history.js";
import { Series } from "./series.js";
import { LineStream } from "./stream.js";
import * as answers from "./view_answers.js";
import * as calibration from "./view_calibration.js";
import * as drift from "./view_drift.js";
import * as explain from "./view_explain.js";
import * as features from "./view_features.js";
import * as health from "./view_health.js";
import * as learning from "./view_learning.js";
import * as models from "./view_models.js";

import * as slices from "./view_slices.js";
import * as snapshots from "./view_snapshots.js";
import * as table from "./view_table.js";

const VIEWS = {
  answers, learning, calibration, drift, health, features, table, slices, explain, snapshots, models,
};
const byId = (id) => document.getElementById(id);
const series = new Series(SERIES);
let model = "default";
const paces = new Series(PACE);
let stream = null;
let epoch = null;
const keyed = document.documentElement.dataset.key === "needed"; // the service asks for keys

const context = {
  series,
  paces,
  model: () => model,
  models: () => [...byId("model").options].map((option) => option.value),
  path: (rest) => of(model, rest),
  keyed: () => keyed,
  choose,
  offer,
};

const views = Object.entries(VIEWS).map(([id, { mount }]) => ({ section: byId(id), ...mount(byId(id), context) }));

function choose(name) {
  model = name;
  history.replaceState(null, "", `#model=${encodeURIComponent(name)}`);
  begin();
}

function offer(names) {
  const chooser = byId("model");
  const known = [...chooser.options].map((option) => option.value);
  const all = names.includes(model) ? names : [model, ...names];
  if (known.join() !== all.join()) fill(chooser, all.map((name) => el("option", { value: name }, name)));
  chooser.value = model;
}

function begin() {
  stream?.close();
  series.clear();
  paces.clear();
  epoch = null;
  offer([]);
  for (const view of views) quietly(view.model);
  stream = new LineStream(context.path("/stats/stream"), onLine, onState);
}

async function onLine(line) {
  const figures = flat(line);
  byId("pace").textContent = paceOf(line);
  if (!figures) return onState("live", { status: 503, message: line.detail || line.state });
  if (epochOf(figures) !== epoch) await recall(figures);
  series.push(point(figures));
  paces.push(pace(figures));
  for (const view of views) view.line?.(figures);
}

const epochOf = ({ incarnation, position }) => `${incarnation}-${position.split("-")[0]}`;

// What was before: when the page begins, and after a restore.
async function recall(figures) {
  epoch = epochOf(figures);
  series.clear();
  const past = pointsOf(await get(context.path("/stats/history")));
  for (const one of past) if (one.examples < figures.examples) series.push(one);
}

function paceOf({ examples, learn_per_second: rate }) {
  if (examples === undefined) return "";
  return `${examples.toLocaleString("en")} examples${rate === null ? "" : `, ${short(rate)}/s`}`;
}

const WORDS = { live: "live", paused: "paused", waiting: "no answer, trying again" };

function onState(state, error) {
  const pill = byId("state");
  const text = error?.status ? error.message : WORDS[state];
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.kind = state === "live" ? "good" : state === "paused" ? "unknown" : "bad";
}

// A view that fails says so in the log of the browser only when it is not the service's refusal.
function quietly(action) {
  Promise.resolve(action?.()).catch((error) => {
    if (!(error instanceof TypeError) && error.status === undefined) console.error(error);
  });
}

// Whether there is anybody to fetch for, and something to fetch it with.
const awake = () => !document.hidden && (!keyed || key.get());

function watch() {
  const seen = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const view = views.find((one) => one.section === target);
      if (!isIntersecting) seen.delete(view);
      else if (!seen.has(view)) {
        seen.add(view);
        if (awake()) quietly(view.refresh);
      }
    }
  });
  for (const view of views) {
    if (!view.refresh) continue;
    observer.observe(view.section);
    setInterval(() => awake() && seen.has(view) && quietly(view.refresh), view.every);
  }
}

async function askForKey() {
  const text = "It is kept in this tab until the tab is closed, and sent to this service only.";
  const given = await ask({ title: "This service asks for a key", text, confirm: "Use it", field: { label: "Key with the scope read", secret: true } });
  if (given === null) return;
  key.keep(given);
  begin();
}

addEventListener("clickfold:key-needed", () => !byId("ask").open && askForKey());
byId("key").hidden = !keyed;
byId("key").addEventListener("click", askForKey);
byId("theme").addEventListener("click", () => dispatchEvent(new Event("clickfold:toggle-theme")));
byId("model").addEventListener("change", (event) => choose(event.target.value));

model = decodeURIComponent(/^#model=([^&]+)/.exec(location.hash)?.[1] ?? "default");
if (keyed && !key.get()) askForKey();
else begin();
watch();
