// Elements from plain values. Text is always a text node, so no name that a client sent is ever read
// as markup; there is no innerHTML in these modules, and the policy of the page forbids inline code.

const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes (functions become listeners, true is an empty attribute), then children. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Replace what is in a node; the focus goes to what has the same id or label as what had it. */
export function fill(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement : null;
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  if (!focused || focused.isConnected) return;
  const same = (one) => (focused.id ? one.id === focused.id : one.ariaLabel === focused.ariaLabel);
  if (focused.id || focused.ariaLabel) [...node.querySelectorAll("[id], [aria-label]")].find(same)?.focus({ preventScroll: true });
}

/** A table: `columns` are {title, cell(row), number}; a caption for who cannot see it. */
export function table(caption, columns, rows) {
  const head = columns.map((c) => el("th", { scope: "col", class: c.number ? "number" : null }, c.title));
  const body = rows.map((row) =>
    el(
      "tr",
      {},
      columns.map((c, place) => {
        const value = c.cell(row);
        const kind = { class: c.number ? "number" : null };
        return place === 0 ? el("th", { scope: "row", ...kind }, value) : el("td", kind, value);
      }),
    ),
  );
  const name = { role: "region", "aria-label": caption, tabindex: "0", class: "scroll" };
  return el(
    "div",
    name,
    el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)),
  );
}
