// Why a prediction is what it is: a pasted example, each feature's part of the logit as a bar.

import { of, request } from "./api.js";
import { el, fill, table } from "./dom.js";
import { fixed, percent, short } from "./format.js";
import { panel, signedBar } from "./panel.js";

const SAMPLE = '{"user": "u1", "ad": "a1", "site": "s1"}';

export function mount(section, context) {
  let rows = [];
  let asked = null;
  const { body } = panel(section, "Explain", "what each feature of an example contributes to its prediction", {
    rows: () => rows.map(flat),
  });
  const input = el("textarea", { id: "example", rows: "3", spellcheck: "false" }, SAMPLE);
  const said = el("p", { role: "status", class: "said" });
  const place = el("div");
  async function explain(event) {
    event?.preventDefault();
    try {
      const given = JSON.parse(input.value);
      const example = given && typeof given.features === "object" ? given : { features: given };
      const path = of(context.model(), "/predict?explain=true");
      const reply = await (await request(path, { method: "POST", body: example })).json();
      asked = reply.explanations[0];
      rows = [...asked.contributions].sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution));
      fill(said, `Probability of a click: ${percent(reply.predictions[0], 3)} at position ${reply.position}`);
      fill(place, sum(asked), contributions(rows, asked));
    } catch (error) {
      rows = [];
      fill(place);
      fill(said, error instanceof SyntaxError ? `This is not JSON: ${error.message}` : error.message);
    }
  }
  fill(
    body,
    el(
      "form",
      { submit: explain },
      el("label", { for: "example", class: "field" }, "An example, or its features alone, as JSON"),
      input,
      el("p", { class: "buttons" }, el("button", { type: "submit", class: "primary" }, "Explain")),
    ),
    said,
    place,
  );
  return {};
}

function sum({ logit, bias, contributions }) {
  const parts = contributions.reduce((total, one) => total + one.contribution, 0);
  return el("p", { class: "sum" }, `bias ${signed(bias)} + contributions ${signed(parts)} = logit ${signed(logit)}`);
}

function contributions(rows, { bias }) {
  const widest = Math.max(Math.abs(bias), ...rows.map((row) => Math.abs(row.contribution)), 1e-9);
  const columns = [
    { title: "feature", cell: nameOf },
    { title: "contribution", number: true, cell: (row) => signed(row.contribution) },
    { title: "towards", cell: (row) => signedBar(row.contribution / widest) },
    { title: "weight", number: true, cell: (row) => range(row.weight) },
    { title: "n", number: true, cell: (row) => range(row.n) },
    { title: "learning rate", number: true, cell: (row) => range(row.learning_rate) },
    { title: "slot", number: true, cell: (row) => String(row.slot ?? "") },
  ];
  return table("Contributions, largest first", columns, [...rows, { name: "bias", contribution: bias }]);
}

function nameOf({ name, value, view, held_at_zero: held }) {
  const notes = [view, [held].flat().length && [held].flat().every((one) => one === true) ? "held at zero" : null];
  const note = notes.filter(Boolean).join(", ");
  return `${name ?? "?"}${value === undefined ? "" : ` = ${value}`}${note ? ` (${note})` : ""}`;
}

const signed = (value) => `${value < 0 ? "−" : "+"}${fixed(Math.abs(value), 4)}`;

function range(figure) {
  if (figure === null || figure === undefined) return "";
  const all = [figure].flat();
  const [least, most] = [Math.min(...all), Math.max(...all)];
  return least === most ? short(least) : `${short(least)} to ${short(most)}`;
}

const flat = (row) =>
  Object.fromEntries(Object.entries(row).map(([name, v]) => [name, Array.isArray(v) ? v.join(" ") : v]));
