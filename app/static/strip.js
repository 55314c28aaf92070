// A strip of rectangles on a canvas, after GridViz of the paper: as wide as what a value weighs, in a
// colour that says how far its figure has changed. What is too narrow for its name has none; the table
// beside a strip has every value.

import { colour, faint } from "./colours.js";
import { el } from "./dom.js";

const HEIGHT = 54;
const FULL = 0.1; // a change of this size has the full colour

export class Strip {
  #canvas = el("canvas", { class: "strip", height: HEIGHT });
  #host;
  #title;
  #items = [];

  constructor(host, title) {
    this.#title = title;
    this.#host = el("div", { class: "chart", role: "img", "aria-label": title }, this.#canvas);
    host.append(this.#host);
    addEventListener("clickfold:theme", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.#host);
  }

  /** items: {name, size, change (null: not known)}; a sentence for who cannot see it. */
  set(items, sentence) {
    this.#items = items;
    this.#host.setAttribute("aria-label", `${this.#title}: ${sentence}`);
    this.#draw();
  }

  /** A PNG on the panel's ground, as a promise of a blob. */
  png() {
    const canvas = el("canvas", { width: this.#canvas.width, height: this.#canvas.height });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = colour("panel");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.drawImage(this.#canvas, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  #draw() {
    const width = this.#host.clientWidth;
    if (!width) return;
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = HEIGHT * scale;
    const ctx = this.#canvas.getContext("2d");
    ctx.scale(scale, scale);
    ctx.font = "12px system-ui, sans-serif";
    const total = this.#items.reduce((sum, one) => sum + one.size, 0) || 1;
    let left = 0;
    for (const one of this.#items) {
      const wide = (one.size / total) * width;
      box(ctx, left, wide, one);
      left += wide;
    }
  }
}

function box(ctx, left, wide, { name, change }) {
  const known = Number.isFinite(change);
  const depth = known ? Math.min(1, Math.abs(change) / FULL) : 0;
  ctx.fillStyle = known ? faint(change > 0 ? "more" : "less", 0.08 + 0.62 * depth) : colour("hover");
  ctx.fillRect(left, 0, Math.max(0.5, wide - 1), HEIGHT);
  if (wide < 34) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, 0, wide - 4, HEIGHT);
  ctx.clip();
  ctx.fillStyle = colour("ink");
  ctx.fillText(name, left + 6, 22);
  if (known) ctx.fillText(`${change < 0 ? "−" : "+"}${(100 * Math.abs(change)).toFixed(1)} %`, left + 6, 40);
  ctx.restore();
}
