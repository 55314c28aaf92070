// The frame of every view: a title, what it answers, and its data as JSON, CSV and PNG.

import { request } from "./api.js";
import { el, fill } from "./dom.js";
import { save, saveCsv } from "./save.js";

let groups = 0; // radio buttons belong together by name

/** {body, note(text)}: offers are {json: () => path, rows: () => [...], chart: () => Chart, name}. */
export function panel(section, title, about, offers = {}) {
  const id = `${section.id}-title`;
  const note = el("p", { class: "about" }, about);
  const body = el("div", { class: "body" });
  fill(section, el("header", {}, el("h2", { id }, title), note, tools(title, offers)), body);
  return { body, note: (text) => (note.textContent = text) };
}

function tools(title, { json, rows, chart }) {
  const name = () => `clickfold-${title.toLowerCase().replaceAll(" ", "-")}`;
  const all = [];
  if (json) {
    const link = el("a", { href: json(), "aria-label": `${title} as JSON` }, "JSON");
    link.addEventListener("pointerenter", () => link.setAttribute("href", json()));
    link.addEventListener("click", (event) => openJson(event, json(), `${name()}.json`));
    all.push(link);
  }
  if (rows) all.push(tool(title, "CSV", () => saveCsv(rows(), name())));
  if (chart) {
    all.push(
      tool(title, "PNG", async () => {
        const blob = await chart().png();
        if (blob) save(blob, `${name()}.png`);
      }),
    );
  }
  return el("p", { class: "tools" }, all);
}

function tool(title, text, click) {
  return el("button", { type: "button", "aria-label": `${title} as ${text}`, click }, text);
}

// A link cannot carry a key: with one, the document is fetched and saved instead.
async function openJson(event, path, name) {
  event.preventDefault();
  if (sessionStorage.getItem("clickfold.key")) save(await (await request(path)).blob(), name);
  else open(path, "_blank", "noopener");
}

/** What to show where there is nothing yet. */
export function nothing(text) {
  return el("p", { class: "nothing" }, text);
}

/** A group of radio buttons that looks like a switch. */
export function choices(legend, options, chosen, onChoose) {
  const name = `choice-${(groups += 1)}`;
  return el(
    "fieldset",
    { class: "switch" },
    el("legend", { class: "unseen" }, legend),
    options.map(([id, title]) =>
      el(
        "label",
        {},
        el("input", { type: "radio", name, value: id, checked: id === chosen, change: () => onChoose(id) }),
        el("span", {}, title),
      ),
    ),
  );
}

/** A bar from the middle: right and warm for what raises, left and cool for what lowers. */
export function signedBar(share) {
  const drawn = el("span", { class: share < 0 ? "less" : "more" });
  drawn.style.width = `${(50 * Math.min(1, Math.abs(share))).toFixed(1)}%`;
  drawn.style[share < 0 ? "right" : "left"] = "50%";
  return el("span", { class: "signed", "aria-hidden": "true" }, drawn);
}

/** A list of names and values; a third item colours the value. */
export function list(entries) {
  return el(
    "dl",
    { class: "facts" },
    entries.map(([name, value, kind]) => el("div", {}, el("dt", {}, name), el("dd", { class: kind }, String(value ?? "–")))),
  );
}

/** Show such a list again: where the names are the same, only what changed is written. */
export function showList(place, entries) {
  const values = place.querySelectorAll("dd");
  if (values.length !== entries.length) return fill(place, list(entries));
  entries.forEach(([, value, kind = ""], i) => {
    const text = String(value ?? "–");
    if (values[i].textContent !== text) values[i].firstChild.data = text;
    if (values[i].className !== kind) values[i].className = kind;
  });
}
