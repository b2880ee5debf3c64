// The models of each step: which one serves, how good it is, why it was let in, and changing that by hand.
// SPDX-License-Identifier: Apache-2.0

import { get, repeat, send } from "./ask.js";
import { $, confirmed, make, text, time } from "./dom.js";
import { bytes, count, percent, span } from "./format.js";
import { decider, serverName, standingName } from "./words.js";

const EVERY = 10000;
const NO_MODEL = "No model yet. One is trained as soon as there is enough to learn from; until then a baseline serves.";
const fixed = (value) => (Number.isFinite(value) ? value.toFixed(2) : "–");

export class Models {
  // onChange() is called when another model serves.
  constructor(onChange) {
    Object.assign(this, { onChange, visible: false, shown: "" });
  }

  // Begins to keep the page fresh, at the first time that somebody looks.
  show(visible) {
    this.visible = visible;
    if (!visible) return;
    if (this.again) this.again();
    else this.again = repeat(() => this.refresh(), () => EVERY);
  }

  async refresh() {
    if (!this.visible) return;
    const { models } = await get("api/v1/models");
    const now = JSON.stringify(models);
    if (now === this.shown) return;
    this.shown = now;
    const groups = new Map();
    for (const model of models) {
      if (!groups.has(model.step_ms)) groups.set(model.step_ms, []);
      groups.get(model.step_ms).push(model);
    }
    const sorted = [...groups].sort(([a], [b]) => a - b);
    const opened = new Set([...$("models-body").querySelectorAll("details[open]")].map((one) => one.dataset.id));
    $("models-body").replaceChildren(...(sorted.length ? sorted.map(([step, members]) => this.group(step, members))
      : [make("p", { className: "note" }, NO_MODEL)]));
    for (const one of $("models-body").querySelectorAll("details")) one.open = opened.has(one.dataset.id);
  }

  group(step, models) {
    models.sort((a, b) => b.published_ms - a.published_ms);
    const serves = models.some((one) => one.role === "champion");
    const previous = models.find((one) => one.role === "previous");
    const back = make("button", { type: "button", disabled: !previous,
      title: previous ? `${previous.id} serves again` : "there is no previous model" }, "Roll back");
    back.addEventListener("click", () => this.change(`Roll back the models of ${span(step)}?`,
      `${previous.id} serves from now on. The one that serves now is kept, and can be promoted again.`, "Roll back",
      "api/v1/models/rollback", { step_ms: step }));
    return make("section", { className: "group" },
      make("div", { className: "head" }, make("h2", {}, `Series of every ${span(step)}`,
        serves ? null : make("span", { className: "note" }, " served by baselines")), back),
      make("ul", { className: "models" }, ...models.map((model) => this.model(model, step))));
  }

  model(model, step) {
    const standing = model.role === "archived" ? model.standing : model.role;
    const { mase, baseline_mase: base, coverage80 } = model.metrics ?? {};
    const figure = (name, value, title = "") => make("div", { title }, make("dt", {}, name), make("dd", {}, value));
    const promote = make("button", { type: "button" }, "Promote");
    promote.addEventListener("click", () => this.change(`Let ${model.id} serve?`,
      `It forecasts all series of every ${span(step)} from now on. The one that serves now stays as the previous one.`,
      "Promote", `api/v1/models/${encodeURIComponent(model.id)}/promote`, {}));
    return make("li", { className: `model ${standing}` },
      make("div", { className: "who" }, make("strong", {}, model.id), make("span", { className: `badge ${standing}` },
        standingName(standing)), make("span", { className: "note" }, serverName(model.backbone))),
      make("dl", { className: "figures" },
        figure("trained", time(Date.parse(model.trained_at))),
        figure("error (MASE)", fixed(mase), "on data that it had not seen"),
        figure(serverName(model.metrics?.baseline ?? "baseline").toLowerCase(), fixed(base), "its error on the same"),
        figure("inside 80 %", Number.isFinite(coverage80) ? percent(coverage80) : "–"),
        figure("size", bytes(model.bytes), `${count(model.parameters)} parameters, learned from ${
          count(model.series)} series`)),
      make("span", { className: "act" }, ["champion", "corrupt"].includes(standing) ? null : promote),
      make("p", { className: "why" }, model.verdict ?? ""), this.decisions(model));
  }

  decisions(model) {
    const decision = (one) => make("li", {}, time(one.at_ms),
      `: ${standingName(one.standing)}, by ${decider(one.by)}: ${one.reason}`);
    const details = make("details", {}, make("summary", {}, "Decisions"),
      make("ol", {}, ...(model.decisions ?? []).toReversed().map(decision)));
    details.dataset.id = model.id;
    return details;
  }

  async change(title, words, verb, path, body) {
    if (!(await confirmed(title, words, verb))) return;
    try {
      const { champion } = await send("POST", path, body);
      text("models-note", champion ? `${champion} serves now.` : "The baselines serve now.");
    } catch (error) {
      text("models-note", `Nothing was changed: ${error.message}.`);
    }
    this.again();
    this.onChange();
  }
}
