// One series' history, its forecast fan, what was said earlier, and anomalies, drawn with uPlot.
// SPDX-License-Identifier: Apache-2.0
//
// Rows: time, 97.5 %, 2.5 %, 90 %, 10 %, median, said 90 %, said 10 %, said median, history. The fan starts at the last
// reading, so that it grows out of the line; the part ahead of the readings is tinted and "now" has a line. A cell that
// is undefined is stepped over, null is a gap.

import { moment, NOTHING, quantity, utc } from "./format.js";

const QUANTILES = ["0.975", "0.025", "0.9", "0.1", "0.5"];
const SAID = ["0.9", "0.1", "0.5"];
const [HIGH95, LOW95, HIGH, LOW, MEDIAN, SAID_HIGH, SAID_LOW, SAID_MEDIAN, HISTORY] = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const FEW_READINGS = 30;
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

function put(table, ms, first, cells) {
  let row = table.get(ms);
  if (!row) table.set(ms, row = new Array(HISTORY + 1).fill(undefined));
  cells.forEach((cell, i) => { row[first + i] = cell ?? null; });
}

// history: [[ms, value or null], ...] in time order; forecast, said: elements of `forecasts` or null.
export function rows(history, forecast, said) {
  const table = new Map();
  const step = forecast?.step_ms ?? 0;
  const origin = forecast ? Date.parse(forecast.origin) : Infinity;
  let before = null;
  for (const [ms, value] of history) {
    if (before !== null && step > 0 && ms - before > 1.9 * step) put(table, before + step, HISTORY, [null]);
    if (ms === origin && value !== null) put(table, ms, HIGH95, [value, value, value, value, value]);
    put(table, ms, HISTORY, [value]);
    before = ms;
  }
  forecast?.timestamps.forEach((ms, i) => put(table, ms, HIGH95, QUANTILES.map((q) => forecast.quantiles[q]?.[i])));
  said?.timestamps.forEach((ms, i) => put(table, ms, SAID_HIGH, SAID.map((q) => said.quantiles[q]?.[i])));
  const times = [...table.keys()].sort((a, b) => a - b);
  const columns = [times.map((ms) => ms / 1000)];
  for (let i = HIGH95; i <= HISTORY; i++) columns.push(times.map((ms) => table.get(ms)[i]));
  return columns;
}

export class Chart {
  // onRead(words, utc) tells what stands under the pointer; onPick(ms) that somebody clicked on a past moment.
  constructor(element, onRead, onPick) {
    Object.assign(this, { element, onRead, onPick, plot: null, data: null, step: 0, lastActual: 0, unit: "",
      readings: 0 });
    this.anomalies = [];
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
    element.addEventListener("click", (event) => {
      if (!this.plot || !this.plot.over.contains(event.target)) return;
      const ms = this.plot.posToVal(event.clientX - this.plot.over.getBoundingClientRect().left, "x") * 1000;
      if (ms < this.lastActual * 1000) this.onPick(ms);
    });
  }

  size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  show({ history, forecast, said, anomalies, unit }) {
    this.data = rows(history, forecast, said);
    this.anomalies = anomalies;
    this.unit = unit;
    this.readings = history.length;
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
    const line = (name, width, dash) => ({ stroke: color(name), width, dash, points: { show: false } });
    const axis = {
      stroke: color("--soft"), font: FONT,
      grid: { stroke: color("--grid"), width: 1 },
      ticks: { stroke: color("--line"), width: 1, size: 5 },
    };
    return {
      ...this.size(),
      padding: [18, 24, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true }, y: { range: (_, low, high) => this.range(low, high) } },
      axes: [
        { ...axis, values: TICKS, space: 70, size: 46 },
        {
          ...axis,
          values: (_, ticks) => ticks.map((tick) => quantity(tick, this.unit)),
          size: (_, labels) => 22 + 7 * Math.max(3, ...(labels ?? []).map((words) => words.length)),
          ticks: { show: false },
        },
      ],
      series: [
        {}, edge, edge, edge, edge, line("--accent", 2), edge, edge, line("--said", 1.6, [5, 4]),
        this.historyLine(line("--history", 1.6)),
      ],
      bands: [
        { series: [HIGH95, LOW95], fill: color("--outer") },
        { series: [HIGH, LOW], fill: color("--inner") },
        { series: [SAID_HIGH, SAID_LOW], fill: color("--said-band") },
      ],
      hooks: {
        drawClear: [(plot) => this.drawFuture(plot)],
        draw: [(plot) => { this.drawAnomalies(plot); this.drawNow(plot); }],
        setCursor: [(plot) => this.read(plot.cursor.idx)],
      },
    };
  }

  // Few readings are shown as points, so that already the first is seen.
  historyLine(line) {
    return { ...line, points: { show: () => this.readings <= FEW_READINGS, size: 6, fill: color("--history") } };
  }

  // Room above and below, and never a flat line on the frame. The least band of a constant is no more than a rounding:
  // it is not blown up to fill the chart.
  range(low, high) {
    if (low === null || high === null || low === undefined) return [0, 1];
    const size = Math.max(Math.abs(low), Math.abs(high));
    const flat = high - low <= Math.max(1e-6 * size, NOTHING);
    const spread = flat ? (size > NOTHING ? size * 0.1 : 1) : high - low;
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

  drawAnomalies(plot) {
    const context = plot.ctx;
    context.save();
    context.strokeStyle = color("--now");
    context.lineWidth = 2 * devicePixelRatio;
    for (const [ms, value] of this.anomalies) {
      if (ms / 1000 < plot.scales.x.min || ms / 1000 > plot.scales.x.max || value === null) continue;
      context.beginPath();
      context.arc(plot.valToPos(ms / 1000, "x", true), plot.valToPos(value, "y", true), 5 * devicePixelRatio, 0, 7);
      context.stroke();
    }
    context.restore();
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

  // Tells what stands under the pointer in words; nothing where there is none.
  read(index) {
    const told = [];
    const at = (row) => this.data[row][index];
    const known = (row) => at(row) !== null && at(row) !== undefined;
    const words = (row) => quantity(at(row), this.unit);
    if (index !== null && index !== undefined) {
      if (known(HISTORY)) told.push(words(HISTORY));
      if (known(SAID_MEDIAN)) told.push(`said ${words(SAID_MEDIAN)} (${words(SAID_LOW)} to ${words(SAID_HIGH)})`);
      if (known(MEDIAN) && at(0) > this.lastActual) {
        told.push(`median ${words(MEDIAN)}`);
        if (known(HIGH)) told.push(`80 % ${words(LOW)} to ${words(HIGH)}`);
        if (known(HIGH95)) told.push(`95 % ${words(LOW95)} to ${words(HIGH95)}`);
      }
    }
    const ms = told.length ? at(0) * 1000 : 0;
    this.onRead(told.length ? `${moment(ms, this.step)}: ${told.join(", ")}` : "", told.length ? utc(ms) : "");
  }
}
