// One series' history and its forecast fan, drawn with uPlot.
// SPDX-License-Identifier: Apache-2.0
//
// Rows: time, 97.5 %, 2.5 %, 90 %, 10 %, median, history. The fan starts at the last reading, so
// that it grows out of the line; the part ahead of the readings is tinted and "now" has a line.

import { moment, number } from "./format.js";

const QUANTILES = ["0.975", "0.025", "0.9", "0.1", "0.5"];
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, Inter, "Noto Sans", sans-serif';

const TICKS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [3600, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// history: [[ms, value or null], ...] in time order; forecast: an element of `forecasts`.
export function rows(history, forecast) {
  const table = [[], [], [], [], [], [], []];
  const add = (ms, cells) => {
    table[0].push(ms / 1000);
    for (let i = 0; i < 6; i++) table[i + 1].push(cells[i] ?? null);
  };
  const step = forecast?.step_ms ?? 0;
  const origin = forecast ? Date.parse(forecast.origin) : Infinity;
  let before = null;
  let joined = false;
  for (const [ms, value] of history) {
    if (before !== null && step > 0 && ms - before > 1.9 * step) add(before + step, []);
    const join = ms === origin && value !== null;
    joined ||= join;
    add(ms, join ? [value, value, value, value, value, value] : [null, null, null, null, null, value]);
    before = ms;
  }
  if (!forecast) return table;
  forecast.timestamps.forEach((ms, i) => {
    const cells = QUANTILES.map((q) => forecast.quantiles[q]?.[i]);
    if (before === null || ms > before) {
      add(ms, cells);
    } else {
      // A reading that came after the origin: the forecast for that time stays in sight beside it.
      const at = table[0].indexOf(ms / 1000);
      if (at >= 0) cells.forEach((cell, k) => { table[k + 1][at] = cell ?? null; });
    }
  });
  return table;
}

export class Chart {
  constructor(element, onRead) {
    this.element = element;
    this.onRead = onRead;
    this.plot = null;
    this.data = null;
    this.step = 0;
    this.lastActual = 0;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  show(history, forecast) {
    this.data = rows(history, forecast);
    this.step = forecast?.step_ms ?? 1000;
    this.lastActual = history.length ? history[history.length - 1][0] / 1000 : 0;
    if (this.plot) this.plot.setData(this.data);
    else this.rebuild();
  }

  rebuild() {
    if (!this.data) return;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), this.data, this.element);
  }

  options() {
    const edge = { stroke: "transparent", width: 0, points: { show: false } };
    const axis = {
      stroke: color("--soft"), font: FONT,
      grid: { stroke: color("--grid"), width: 1 },
      ticks: { stroke: color("--line"), width: 1, size: 5 },
    };
    return {
      ...this.size(),
      padding: [18, 14, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true }, y: { range: (_, low, high) => this.range(low, high) } },
      axes: [
        { ...axis, values: TICKS, space: 70, size: 46 },
        {
          ...axis,
          values: (_, ticks) => ticks.map(number),
          size: (_, labels) => 22 + 7 * Math.max(3, ...(labels ?? []).map((text) => text.length)),
          ticks: { show: false },
        },
      ],
      series: [
        {}, edge, edge, edge, edge,
        { stroke: color("--accent"), width: 2, points: { show: false } },
        { stroke: color("--history"), width: 1.6, points: { show: false } },
      ],
      bands: [
        { series: [1, 2], fill: color("--outer") },
        { series: [3, 4], fill: color("--inner") },
      ],
      hooks: {
        drawClear: [(plot) => this.drawFuture(plot)],
        draw: [(plot) => this.drawNow(plot)],
        setCursor: [(plot) => this.onRead(this.read(plot.cursor.idx))],
      },
    };
  }

  // Room above and below, and never a flat line on the frame.
  range(low, high) {
    if (low === null || high === null) return [0, 1];
    const spread = high - low || Math.abs(high) * 0.1 || 1;
    const bottom = low - spread * 0.06;
    return [low >= 0 && bottom < 0 ? 0 : bottom, high + spread * 0.06];
  }

  drawFuture(plot) {
    const { left, top, width, height } = plot.bbox;
    const from = Math.max(left, plot.valToPos(this.lastActual, "x", true));
    if (from >= left + width) return;
    plot.ctx.fillStyle = color("--future");
    plot.ctx.fillRect(from, top, left + width - from, height);
  }

  drawNow(plot) {
    const now = Date.now() / 1000;
    if (now < plot.scales.x.min || now > plot.scales.x.max) return;
    const { left, top, width, height } = plot.bbox;
    const context = plot.ctx;
    const ratio = devicePixelRatio;
    const x = Math.round(plot.valToPos(now, "x", true));
    context.save();
    context.strokeStyle = context.fillStyle = color("--now");
    context.lineWidth = ratio;
    context.setLineDash([4 * ratio, 4 * ratio]);
    context.beginPath();
    context.moveTo(x, top);
    context.lineTo(x, top + height);
    context.stroke();
    context.font = FONT.replace("12px", `${12 * ratio}px`);
    context.textAlign = x > left + width - 40 * ratio ? "right" : "center";
    context.textBaseline = "bottom";
    context.fillText("now", x, top - 3 * ratio);
    context.restore();
  }

  // What stands under the cursor, in words; empty where there is none.
  read(index) {
    if (index === null || index === undefined) return "";
    const at = (row) => this.data[row][index];
    const time = moment(at(0) * 1000, this.step);
    const told = [];
    if (at(6) !== null) told.push(number(at(6)));
    if (at(5) !== null && at(0) > this.lastActual) {
      told.push(`median ${number(at(5))}`);
      if (at(3) !== null) told.push(`80 % ${number(at(4))} to ${number(at(3))}`);
      if (at(1) !== null) told.push(`95 % ${number(at(2))} to ${number(at(1))}`);
    }
    return told.length ? `${time}: ${told.join(", ")}` : "";
  }
}
