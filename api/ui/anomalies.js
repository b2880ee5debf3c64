// Readings that lie outside of what was expected: circles in the chart, the newest as a list.
// SPDX-License-Identifier: Apache-2.0
//
// A daemon without the route is asked once; the part then stays hidden.

import { get, repeat } from "./ask.js";
import { $, make, time } from "./dom.js";
import { quantity } from "./format.js";

const EVERY = 15000;
const THRESHOLD = 1.0;
const SHOWN = 6;

export class Anomalies {
  // onChange() is called when other points are to be drawn.
  constructor(onChange) {
    Object.assign(this, { onChange, series: null, points: [], range: 0, absent: false, known: false });
  }

  start() {
    this.again = repeat(() => this.refresh(), () => EVERY);
  }

  choose(series) {
    Object.assign(this, { series, points: [], range: 0, known: false });
    $("anomalies-body").dataset.shown = "";
  }

  // Looks this far back from now on.
  look(range) {
    this.range = range;
    this.again?.();
  }

  async refresh() {
    const { series, range } = this;
    if (!series || !range || this.absent) return;
    let answer;
    try {
      answer = await get("api/v1/anomalies", { series, start: new Date(Date.now() - range).toISOString() });
    } catch (error) {
      if (error.code === "unknown_route") this.absent = true;
      if (!error.code || error.status >= 500) throw error;
      answer = null;
    }
    if (series !== this.series || range !== this.range) return;
    this.known = answer !== null;
    this.points = (answer?.points ?? []).filter(([, , score]) => score >= THRESHOLD);
    this.onChange();
  }

  show(step, unit) {
    $("anomalies").hidden = !this.known;
    const now = JSON.stringify([this.known, this.points, step]);
    if ($("anomalies-body").dataset.shown === now) return;
    $("anomalies-body").dataset.shown = now;
    $("anomalies-body").replaceChildren(this.points.length ? this.table(step, unit)
      : make("p", { className: "note" },
        "None in the history shown: every reading was within what its forecast expected."));
  }

  table(step, unit) {
    const newest = this.points.slice(-SHOWN).reverse();
    const rows = newest.map(([ms, value, score]) => make("tr", {}, make("th", { scope: "row" }, time(ms, step)),
      make("td", { className: "n" }, quantity(value, unit)), make("td", { className: "n" }, `${score.toFixed(1)} ×`)));
    const more = this.points.length - newest.length;
    return make("div", {}, make("table", {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "time"),
        make("th", { scope: "col", className: "n" }, "reading"),
        make("th", { scope: "col", className: "n", title: "1.0 is the threshold" }, "of the threshold"))),
      make("tbody", {}, ...rows)), more > 0 ? make("p", { className: "note" }, `and ${more} more in the chart`) : null);
  }
}
