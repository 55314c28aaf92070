// Files that a view offers: its rows as CSV, its data as JSON, its chart as PNG.

import { request } from "./api.js";
import { el } from "./dom.js";

/** Have the browser save a blob. */
export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** RFC 4180. Text that a spreadsheet would read as a formula is quoted as text: names are a client's. */
export function csv(rows) {
  if (!rows.length) return "";
  const names = Object.keys(rows[0]);
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = String(value);
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = [names, ...rows.map((row) => names.map((name) => row[name]))];
  return lines.map((line) => line.map(cell).join(",") + "\r\n").join("");
}

/** Save rows as a CSV file. */
export function saveCsv(rows, name) {
  save(new Blob([csv(rows)], { type: "text/csv" }), `${name}.csv`);
}

/** Download what a path answers, with the key. */
export async function saveReply(path, name, options) {
  save(await (await request(path, options)).blob(), name);
}
