// The chosen series: history and forecast kept fresh, headline, ranges, and the parts that judge it.
// SPDX-License-Identifier: Apache-2.0

import { Accuracy } from "./accuracy.js";
import { Anomalies } from "./anomalies.js";
import { get, repeat } from "./ask.js";
import { Chart } from "./chart.js";
import { $, make, pressable, setTime, text, time } from "./dom.js";
import { drawCommand, drawFacts } from "./facts.js";
import { ago, duration, moment, parts, quantity, unitOf } from "./format.js";
import { Past } from "./past.js";

export const QUANTILES = "0.025,0.1,0.5,0.9,0.975";
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const RANGES = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY,
  84 * DAY, 364 * DAY, 1820 * DAY];
const STEPS_SHOWN = 170;

function pairs(past) {
  if (!past) return [];
  return Array.isArray(past) ? past : past.timestamps.map((ms, i) => [ms, past.values[i]]);
}

export class Series {
  constructor() {
    this.chosen = null;
    this.reset();
    this.chart = new Chart($("chart"), (words, utc) => { text("readout", words); $("readout").title = utc; },
      (ms) => this.past.at(ms));
    this.past = new Past(() => this.draw());
    this.accuracy = new Accuracy();
    this.anomalies = new Anomalies(() => this.draw());
    $("numbers").addEventListener("toggle", () => this.drawNumbers());
  }

  reset() {
    Object.assign(this, { range: null, step: 0, stepKnown: false, unit: "", history: [], forecast: null, trouble: "" });
  }

  // Begins to keep the chosen series fresh.
  start() {
    this.refreshNow = repeat(() => this.refresh(), () => Math.min(10 * SECOND, Math.max(2 * SECOND, this.step / 4)));
    this.accuracy.start();
    this.anomalies.start();
  }

  choose(series) {
    this.chosen = series;
    this.reset();
    const { name, labels } = parts(series);
    text("name", name);
    $("labels").replaceChildren(...labels.map(([key, value]) => make("li", {}, `${key} ${value}`)));
    drawCommand(series);
    this.past.choose(series);
    this.accuracy.choose(series);
    this.anomalies.choose(series);
    this.refreshNow?.();
  }

  // Ranges that hold between 30 and 3,600 steps; some 170 steps to start with.
  ranges() {
    const fitting = RANGES.filter((ms) => ms >= 30 * this.step && ms <= 3600 * this.step).slice(0, 5);
    return fitting.length ? fitting : [200 * this.step];
  }

  setRange(ms) {
    this.range = ms;
    this.drawRanges();
    this.anomalies.look(ms);
    this.refreshNow();
  }

  // The next shorter or longer history.
  stepRange(by) {
    const all = this.ranges();
    const next = all[all.indexOf(this.range) + by];
    if (this.range !== null && next) this.setRange(next);
  }

  drawRanges() {
    pressable("ranges", this.ranges().map((ms) => [ms, duration(ms)]), this.range, (ms) => this.setRange(ms));
  }

  async learn(series) {
    const one = await get(`api/v1/series/${encodeURIComponent(series)}`);
    if (series !== this.chosen) return;
    this.step = one.step_ms || SECOND;
    this.unit = unitOf(series, one.kind === "counter");
    const far = (ms) => Math.abs(Math.log(ms / this.step / STEPS_SHOWN));
    this.range = this.ranges().reduce((best, ms) => (far(ms) < far(best) ? ms : best));
    this.stepKnown = Boolean(one.step_ms);
    this.drawRanges();
    this.anomalies.look(this.range);
  }

  async refresh() {
    const series = this.chosen;
    if (!series) return;
    if (this.range === null || !this.stepKnown) {
      try {
        await this.learn(series);
      } catch (error) {
        if (error.code !== "unknown_series") throw error;
        this.miss(series, error.message);
        return;
      }
    }
    if (series !== this.chosen) return;
    let forecast = null, trouble = "", history;
    try {
      const answer = await get("api/v1/forecast", { series, quantiles: QUANTILES, history: duration(this.range) });
      forecast = answer.forecasts.find((one) => one.series === series) ?? answer.forecasts[0];
      history = pairs(forecast.history);
    } catch (error) {
      if (!error.code || error.status >= 500) throw error;
      trouble = error.message;
      history = [];
      if (error.code !== "unknown_series") {
        const answer = await get(`api/v1/series/${encodeURIComponent(series)}/points`,
          { start: new Date(Date.now() - this.range).toISOString() });
        history = answer.points;
      }
    }
    if (series !== this.chosen) return;
    Object.assign(this, { forecast, trouble, history });
    this.draw();
  }

  // There is no such series (any more): nothing of the one before may stand under its name.
  miss(series, trouble) {
    if (series !== this.chosen) return;
    Object.assign(this, { range: HOUR, step: SECOND, stepKnown: false, history: [], forecast: null, trouble });
    this.draw();
  }

  draw() {
    if (this.range === null) return;
    const { history, forecast, unit, step } = this;
    const { said } = this.past;
    this.chart.show({ history, forecast, said, anomalies: this.anomalies.points, unit });
    $("said-key").hidden = !said;
    $("anomaly-key").hidden = this.anomalies.points.length === 0;
    this.drawHeadline();
    this.past.show({ history, step, range: this.range, unit });
    this.accuracy.unitsOf(step);
    this.anomalies.show(step, unit);
    drawFacts(forecast, this.trouble, step);
    this.drawNumbers();
  }

  drawHeadline() {
    const { history, forecast, unit, step } = this;
    const last = history.findLast(([, value]) => value !== null);
    if (last) setTime("last-time", last[0], step);
    else text("last-time", "latest");
    text("last-value", last ? quantity(last[1], unit) : "none yet");
    text("last-age", last ? ago(Date.now() - last[0]) : "");
    const future = (prefix, i) => {
      const of = (q) => quantity(forecast.quantiles[q][i], unit);
      if (forecast) setTime(`${prefix}-time`, forecast.timestamps[i], step);
      else text(`${prefix}-time`, prefix);
      text(`${prefix}-value`, forecast ? of("0.5") : "");
      text(`${prefix}-band`, forecast ? `80 %: ${of("0.1")} to ${of("0.9")}` : "");
    };
    const end = forecast ? forecast.timestamps.length - 1 : 0;
    future("next", 0);
    future("end", end);
    $("chart").setAttribute("aria-label", last && forecast
      ? `latest ${quantity(last[1], unit)}; forecast for ${moment(forecast.timestamps[end], step)}: ` +
        `${quantity(forecast.quantiles["0.5"][end], unit)}` : "history and forecast");
  }

  // The table that says in numbers what the chart shows; made only while it is open.
  drawNumbers() {
    const { forecast, unit, step } = this;
    if (!$("numbers").open) return;
    const now = forecast ? `${forecast.series} ${forecast.issued_at}` : "";
    if (this.numbersOf === now) return;
    this.numbersOf = now;
    if (!forecast) {
      $("numbers-table").replaceChildren();
      return;
    }
    const levels = Object.keys(forecast.quantiles);
    const header = make("tr", {}, make("th", { scope: "col" }, "time"),
      ...levels.map((q) => make("th", { scope: "col", className: "n" },
        q === "0.5" ? "median" : `${+(q * 100).toFixed(1)} %`)));
    $("numbers-table").replaceChildren(make("thead", {}, header), make("tbody", {},
      ...forecast.timestamps.map((ms, i) => make("tr", {}, make("th", { scope: "row" }, time(ms, step)),
        ...levels.map((q) => make("td", { className: "n" }, quantity(forecast.quantiles[q][i], unit)))))));
  }
}
