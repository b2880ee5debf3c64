// Who serves a forecast and why, how good and how calibrated it is, what is odd about its data.
// SPDX-License-Identifier: Apache-2.0

import { $, make, text, time } from "./dom.js";
import { ago, count, percent, span } from "./format.js";
import { reasons, serverName, stateWords, warningWords } from "./words.js";

const fact = (id, words, note) => { text(id, words); text(`${id}-note`, note); };

function drawServer({ served_by: server, fallback_reason: reason, model }) {
  const trained = model ? Date.parse(model.trained_at) : 0;
  fact("served", serverName(server), reason ? `not a model: ${reasons(reason)}`
    : (model ? `model ${model.id}, trained ${ago(Date.now() - trained)}` : ""));
  $("served-note").title = model
    ? `trained ${model.trained_at}, on ${model.window.join(" to ")}, seed ${model.seed}` : "";
}

function drawSkill(skill) {
  if (skill?.relative === null || skill?.relative === undefined) {
    fact("skill", "not known yet", skill ? "" : "a model is compared with the baseline when it is trained");
    return;
  }
  const better = 1 - skill.relative;
  fact("skill", Math.abs(better) < 0.005 ? "as the baseline"
    : `${percent(Math.abs(better))} ${better > 0 ? "better" : "worse"}`,
  `than ${serverName(skill.baseline ?? "seasonal_naive").toLowerCase()}` +
    `${skill.mase ? `, MASE ${skill.mase.toFixed(2)}` : ""}`);
}

function drawCalibration(calibration) {
  if (!calibration || !(calibration.count > 0)) {
    fact("calibration", "not known yet", "");
    return;
  }
  fact("calibration", `${percent(calibration.observed)} inside`,
    `the ${percent(calibration.level)} band, of ${count(calibration.count)} ` +
    `${calibration.source === "live" ? "since then, live" : "held back"}`);
}

function drawWarnings(warnings, step) {
  $("warnings").hidden = warnings.length === 0;
  const now = JSON.stringify(warnings);
  if ($("warnings").dataset.shown === now) return;
  $("warnings").dataset.shown = now;
  $("warnings").replaceChildren(...warnings.map((one) => make("li", {}, warningWords(one.code),
    one.since ? ", since " : "", one.since ? time(Date.parse(one.since), step) : "")));
}

// How a shell asks for the same.
export function drawCommand(series) {
  const quoted = series.replaceAll("'", "'\\''");
  text("curl", `curl -G ${new URL("api/v1/forecast", document.baseURI)} ` +
    `--data-urlencode 'series=${quoted}' -d level=80,95 -d format=csv`);
}

// trouble: why there is no forecast, where there is none.
export function drawFacts(forecast, trouble, step) {
  if (!forecast) {
    fact("served", "No forecast", trouble);
    for (const id of ["skill", "calibration", "data"]) fact(id, "", "");
    drawWarnings([], step);
    return;
  }
  drawServer(forecast);
  drawSkill(forecast.skill);
  drawCalibration(forecast.calibration);
  const flaws = ["missing", "excluded", "late", "resets"].filter((key) => forecast.quality?.[key] > 0)
    .map((key) => `${count(forecast.quality[key])} ${key}`);
  fact("data", `every ${span(forecast.step_ms)}`,
    `${stateWords(forecast.state)}; ${flaws.length ? flaws.join(", ") : "no gaps"}`);
  drawWarnings(forecast.warnings ?? [], step);
}
