// Accuracy and coverage of what was issued, along the horizon: model and baseline side by side.
// SPDX-License-Identifier: Apache-2.0

import { get, repeat } from "./ask.js";
import { $, make, pressable } from "./dom.js";
import { count, percent, span } from "./format.js";
import { serverName } from "./words.js";

const WINDOWS = [["1d", "1 d"], ["7d", "7 d"], ["30d", "30 d"]];
const EVERY = 30000;

export class Accuracy {
  constructor() {
    Object.assign(this, { series: null, window: "7d", answer: null, step: 0 });
  }

  start() {
    this.again = repeat(() => this.refresh(), () => EVERY);
  }

  choose(series) {
    Object.assign(this, { series, answer: null });
    this.draw();
    this.again?.();
  }

  unitsOf(step) {
    if (this.step === step) return;
    this.step = step;
    this.draw();
  }

  async refresh() {
    const { series, window } = this;
    if (!series) return;
    let answer;
    try {
      answer = await get("api/v1/accuracy", { series, by: "horizon", window });
    } catch (error) {
      if (!error.code || error.status >= 500) throw error;
      answer = { series: [] };
    }
    if (series !== this.series || window !== this.window) return;
    this.answer = answer.series[0] ?? { count: 0, by_horizon: [] };
    this.draw();
  }

  draw() {
    pressable("windows", WINDOWS, this.window, (window) => {
      this.window = window;
      this.draw();
      this.again();
    });
    if (!this.answer) return;
    $("accuracy-body").replaceChildren(this.answer.count > 0 ? this.table() : this.nothing());
  }

  nothing() {
    return make("p", { className: "note" },
      "Nothing is scored yet. Each forecast that was issued is compared with the readings as they come.");
  }

  table() {
    const { answer } = this;
    const baseline = answer.baseline_name ? serverName(answer.baseline_name).toLowerCase() : "baseline";
    const head = ["ahead", "readings", "error (MASE)", baseline, "inside 80 %", "inside 95 %"];
    const rows = answer.by_horizon.filter((row) => row.count > 0)
      .map((row) => this.row(`${span((row.steps[0] - 1) * this.step)} to ${span(row.steps[1] * this.step)}`, row));
    return make("table", {},
      make("thead", {}, make("tr", {}, ...head.map((words, i) =>
        make("th", { scope: "col", className: i ? "n" : "" }, words)))),
      make("tbody", {}, ...rows, this.row("all", answer, "sum")));
  }

  row(name, { count: values, issued, baseline }, className = "") {
    const mase = (score) => (Number.isFinite(score?.mase) ? score.mase.toFixed(2) : "–");
    const better = issued?.mase < baseline?.mase;
    return make("tr", { className }, make("th", { scope: "row" }, name), make("td", { className: "n" }, count(values)),
      make("td", { className: `n ${better ? "better" : ""}` }, mase(issued)),
      make("td", { className: "n" }, mase(baseline)),
      this.coverage(issued?.coverage80, 0.8), this.coverage(issued?.coverage95, 0.95));
  }

  // A bar with a mark where it should end.
  coverage(share, wanted) {
    if (!Number.isFinite(share)) return make("td", { className: "n" }, "–");
    const bar = make("i", { className: "bar", "aria-hidden": "true" },
      make("i", { className: "fill" }), make("i", { className: "mark" }));
    bar.children[0].style.width = `${share * 100}%`;
    bar.children[1].style.left = `${wanted * 100}%`;
    return make("td", { className: "n cover" }, bar, percent(share));
  }
}
