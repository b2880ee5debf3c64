// "What did we say": the forecast as it was issued at an earlier moment, against what came.
// SPDX-License-Identifier: Apache-2.0

import { get } from "./ask.js";
import { $, pressable, text } from "./dom.js";
import { localInput, moment, percent, quantity, span, utc } from "./format.js";
import { serverName } from "./words.js";

const QUANTILES = "0.1,0.5,0.9";
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const OFFSETS = [[10 * SECOND, "10 s ago"], [30 * SECOND, "30 s ago"], [MINUTE, "1 min ago"], [5 * MINUTE, "5 min ago"],
  [15 * MINUTE, "15 min ago"], [HOUR, "1 h ago"], [6 * HOUR, "6 h ago"], [DAY, "yesterday"], [2 * DAY, "2 days ago"],
  [7 * DAY, "a week ago"], [14 * DAY, "2 weeks ago"], [28 * DAY, "4 weeks ago"]];
const OFFSETS_SHOWN = 4;
const HINT = "Choose a moment, or click on it in the chart: the forecast that stood then is drawn over what came.";

export class Past {
  // onChange() is called when another forecast is to be drawn.
  constructor(onChange) {
    this.onChange = onChange;
    this.context = null;
    this.choose(null);
    $("moment").addEventListener("change", () => {
      const ms = Date.parse($("moment").value);
      if (Number.isFinite(ms)) this.at(ms);
      else this.drop();
    });
  }

  choose(series) {
    this.series = series;
    this.drop();
  }

  drop() {
    Object.assign(this, { said: null, offset: 0, trouble: "" });
    $("moment").value = "";
    this.draw();
  }

  // The forecast that stood `ms`; `offset` says which button asked for it.
  async at(ms, offset = -1) {
    const { series } = this;
    const mine = this.asked = {};
    Object.assign(this, { offset, trouble: "" });
    $("moment").value = localInput(ms);
    this.draw();
    let said = null, trouble = "";
    try {
      const answer = await get("api/v1/forecast", { series, quantiles: QUANTILES, at: new Date(ms).toISOString() });
      [said] = answer.forecasts;
    } catch (error) {
      if (!error.code) throw error;
      const when = moment(ms, this.context?.step ?? MINUTE);
      trouble = error.code === "no_vintage" ? `Nothing is kept that was said by ${when}.` : error.message;
    }
    if (mine !== this.asked || series !== this.series) return;
    Object.assign(this, { said, trouble });
    this.onChange();
    this.draw();
  }

  press(offset) {
    if (offset === 0) {
      this.drop();
      this.onChange();
    } else {
      this.at(Date.now() - offset, offset);
    }
  }

  // The series is shown with this history: [[ms, value], ...].
  show(context) {
    this.context = context;
    this.draw();
  }

  draw() {
    if (!this.context) return;
    const { step, range } = this.context;
    const fitting = OFFSETS.filter(([ms]) => ms >= 4 * step && ms <= range).slice(-OFFSETS_SHOWN);
    pressable("offsets", [[0, "off"], ...fitting], this.offset, (offset) => this.press(offset));
    text("verdict", this.said ? this.judge() : this.trouble || (this.offset ? "" : HINT));
    $("verdict").title = this.said ? `issued ${utc(Date.parse(this.said.issued_at))}` : "";
  }

  // In words: who said it when, and how it turned out.
  judge() {
    const { said, context: { history, step, unit } } = this;
    const came = new Map(history.filter(([, value]) => value !== null)
      .map(([ms, value]) => [Math.round(ms / step), value]));
    let inside = 0, off = 0, seen = 0;
    said.timestamps.forEach((ms, i) => {
      const value = came.get(Math.round(ms / step));
      if (value === undefined) return;
      seen++;
      inside += value >= said.quantiles["0.1"][i] && value <= said.quantiles["0.9"][i];
      off += Math.abs(value - said.quantiles["0.5"][i]);
    });
    const who = `Said ${moment(Date.parse(said.issued_at), step)} by ${serverName(said.served_by)}, for ` +
      `${span(said.timestamps.length * step)}`;
    if (!seen) return `${who}: none of it has come yet.`;
    return `${who}. ${seen} of ${said.timestamps.length} values have come: ` +
      `${percent(inside / seen)} inside the 80 % band, ${quantity(off / seen, unit)} off the median on average.`;
  }
}
