// A chart in a panel: uPlot in the page's colours, as wide as its host, drawn anew when the theme
// changes, with a sentence for who cannot see it, and as PNG with its title and legend.

import uPlot from "./uPlot.esm.js";
import { colour, faint } from "./colours.js";
import { el } from "./dom.js";
import { short } from "./format.js";

const FONT = "11px system-ui, sans-serif";

export class Chart {
  #host;
  #options;
  #plot = null;
  #data = null;

  /** options: title, series [{label, colour, dash, fill, width, points, bars, show}], x, y, height,
      bands [[high, low]] by place in series (1 is the first), hooks. x and y: {format, time, range, splits}. */
  constructor(host, options) {
    this.#options = options;
    this.#host = el("div", { class: "chart", role: "img", "aria-label": options.title });
    host.append(this.#host);
    addEventListener("clickfold:theme", () => this.#rebuild());
    new ResizeObserver(() => this.#fit()).observe(this.#host);
  }

  /** Columns as uPlot takes them, and a sentence that says what they show. */
  set(data, sentence) {
    this.#data = data;
    if (sentence) this.#host.setAttribute("aria-label", `${this.#options.title}: ${sentence}`);
    if (this.#plot) this.#plot.setData(data);
    else this.#rebuild();
    this.#latest();
  }

  // The legend shows the latest values while no pointer asks for others.
  #latest() {
    const plot = this.#plot;
    if (plot && this.#options.latest && !(plot.cursor.left >= 0)) plot.setLegend({ idx: this.#data[0].length - 1 });
  }

  /** Change options (a scale, a title, the series) and draw again. */
  change(options) {
    Object.assign(this.#options, options);
    this.#data = null;
    this.#plot?.destroy();
    this.#plot = null;
  }

  /** A PNG with background, title and legend, as a promise of a blob. */
  png() {
    const source = this.#plot?.ctx.canvas;
    if (!source) return Promise.resolve(null);
    const scale = devicePixelRatio;
    const head = 40 * scale;
    const canvas = el("canvas", { width: source.width, height: source.height + head });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = colour("panel");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.fillStyle = colour("ink");
    ctx.font = `600 ${13 * scale}px system-ui, sans-serif`;
    ctx.fillText(this.#options.title, 10 * scale, 17 * scale);
    ctx.font = `${11 * scale}px system-ui, sans-serif`;
    let left = 10 * scale;
    for (const one of this.#options.series.filter((s) => s.label)) {
      ctx.fillStyle = colour(one.colour);
      ctx.fillRect(left, 26 * scale, 10 * scale, 3 * scale);
      ctx.fillStyle = colour("quiet");
      ctx.fillText(one.label, left + 14 * scale, 32 * scale);
      left += 26 * scale + ctx.measureText(one.label).width;
    }
    ctx.drawImage(source, 0, head);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  #fit() {
    const width = this.#host.clientWidth;
    if (this.#plot && width && width !== this.#plot.width) {
      this.#plot.setSize({ width, height: this.#options.height });
    }
  }

  #rebuild() {
    const width = this.#host.clientWidth;
    if (!this.#data || !width) return;
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#settings(width), this.#data, this.#host);
  }

  #settings(width) {
    const { series, x, y, height, bands = [], hooks = {}, legend = true } = this.#options;
    return {
      width,
      height,
      padding: [10, 12, 0, 0],
      legend: { show: legend },
      cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { size: 6 } },
      scales: { x: scaleOf(x), y: scaleOf(y) },
      axes: [axisOf(x, false), axisOf(y, true)],
      series: [{ label: x.label, value: (_, v) => (v === null ? "–" : x.format(v)) }, ...series.map((s) => seriesOf(s, y))],
      bands: bands.map(([high, low, name]) => ({ series: [high, low], fill: faint(name, 0.18) })),
      hooks: { ...hooks, setCursor: [() => this.#latest()] },
    };
  }
}

function scaleOf({ time = false, range }) {
  return { time, ...(range ? { range } : {}) };
}

function axisOf({ format = short, splits }, vertical) {
  return {
    stroke: colour("quiet"),
    font: FONT,
    size: vertical ? 52 : 26,
    gap: 4,
    space: vertical ? 28 : 64,
    grid: { stroke: colour("line"), width: 1, show: vertical },
    ticks: { stroke: colour("line"), width: 1, size: 4 },
    ...(splits ? { splits } : {}),
    values: (_, ticks) => ticks.map((v) => (v === null ? "" : format(v))),
  };
}

function seriesOf({ label, colour: name, dash, fill, width = 1.5, points = false, bars, show = true }, y) {
  return {
    label,
    show,
    stroke: colour(name),
    width,
    dash,
    fill: fill ? faint(name, fill) : undefined,
    spanGaps: false,
    points: { show: points, size: 6, fill: colour("panel") },
    paths: bars ? uPlot.paths.bars({ size: [bars, 60] }) : undefined,
    value: (_, v) => (v === null || v === undefined ? "–" : y.format(v)),
  };
}
