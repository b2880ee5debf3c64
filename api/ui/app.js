// The page: which series there are, the chosen one with its forecast, what trains; all kept fresh.
// SPDX-License-Identifier: Apache-2.0
//
// Everything from the daemon is put into text nodes, never into markup. Nothing is stored but the
// choice, in the address behind '#', so a link shows the same series. Hidden pages ask for nothing.

import { Chart } from "./chart.js";
import { ago, count, duration, moment, number, parts, span } from "./format.js";

const LIST_EVERY = 5000;
const LIST_MAX = 500;
const JOBS_EVERY = 1500;
const QUANTILES = "0.025,0.1,0.5,0.9,0.975";
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const RANGES = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY,
  84 * DAY, 364 * DAY, 1820 * DAY];

const $ = (id) => document.getElementById(id);
const text = (id, value) => { if ($(id).textContent !== value) $(id).textContent = value; };

const state = { series: [], chosen: null, range: null, step: 0, lost: false };
const chart = new Chart($("chart"), (words) => text("readout", words));

// ---------------------------------------------------------------- asking

async function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(`${path}${query ? "?" : ""}${query}`, { cache: "no-store" });
  const body = await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(body.detail ?? body.title ?? response.statusText), body);
  }
  return body;
}

function banner(words) {
  $("banner").hidden = !words;
  text("banner", words);
}

// Runs `work` now and then again `pause()` milliseconds after it ended, while the page is visible.
function repeat(work, pause) {
  let timer = 0;
  const turn = async () => {
    clearTimeout(timer);
    if (!document.hidden) {
      try {
        await work();
        if (state.lost) { state.lost = false; banner(""); }
      } catch (error) {
        if (error instanceof TypeError || error instanceof SyntaxError) {
          state.lost = true;
          banner("The daemon does not answer. Trying again.");
        }
      }
    }
    timer = setTimeout(turn, pause());
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
  turn();
  return turn;
}

// ---------------------------------------------------------------- the list

const nameOf = (one) => one.series;
const lastOf = (one) => one.last?.value ?? one.last_value ?? null;

async function refreshList() {
  const [answer, status] = await Promise.all([
    get("api/v1/series", { limit: LIST_MAX }), get("api/v1/status"),
  ]);
  state.series = answer.series;
  const more = answer.next ?? answer.cursor ?? null;
  text("summary", state.series.length
    ? `${count(status.series ?? state.series.length)} series, ${count(status.points ?? 0)} points`
    : "");
  $("list-note").hidden = more === null;
  text("list-note", `The first ${LIST_MAX} of ${count(status.series ?? 0)} series.`);
  $("welcome").hidden = state.series.length > 0;
  $("sidebar").hidden = $("browse").hidden = state.series.length === 0;
  if (!state.series.length) $("view").hidden = true;
  if (!state.chosen && state.series.length) choose(fromAddress() ?? favourite());
  drawList();
}

// The first series that a model serves, or else the first.
function favourite() {
  return nameOf(state.series.find((one) => one.state === "learned") ?? state.series[0]);
}

function fromAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("series");
  return wanted && state.series.some((one) => nameOf(one) === wanted) ? wanted : null;
}

function item(one) {
  const { name, labels } = parts(nameOf(one));
  const button = document.createElement("button");
  button.type = "button";
  button.title = `${nameOf(one)}, ${one.state}`;
  const cell = (kind, words) => {
    const span_ = document.createElement("span");
    span_.className = kind;
    span_.textContent = words;
    button.append(span_);
  };
  cell(`dot ${one.state}`, "");
  cell("series", name);
  cell("value", number(lastOf(one)));
  if (labels.length) cell("of", labels.map(([key, value]) => `${key} ${value}`).join(", "));
  button.addEventListener("click", () => {
    choose(nameOf(one));
    $("sidebar").classList.remove("open");
    $("browse").setAttribute("aria-expanded", "false");
  });
  const row = document.createElement("li");
  row.append(button);
  return row;
}

let drawn = "";
function drawList() {
  const wanted = $("search").value.trim().toLowerCase().split(/\s+/);
  const shown = state.series.filter((one) => {
    const name = nameOf(one).toLowerCase();
    return wanted.every((word) => name.includes(word));
  });
  // Redrawn only when something changed, so that focus and hover stay.
  const now = JSON.stringify([shown.map((one) => [nameOf(one), one.state]), state.chosen]);
  const rows = $("list").children;
  if (now === drawn && rows.length === shown.length) {
    shown.forEach((one, i) => {
      const value = rows[i].querySelector(".value");
      const words = number(lastOf(one));
      if (value.textContent !== words) value.textContent = words;
    });
    return;
  }
  drawn = now;
  const focused = [...rows].findIndex((row) => row.firstChild === document.activeElement);
  $("list").replaceChildren(...shown.map((one) => {
    const row = item(one);
    if (nameOf(one) === state.chosen) row.firstChild.setAttribute("aria-current", "true");
    return row;
  }));
  if (focused >= 0) rows[focused]?.firstChild.focus();
}

// ---------------------------------------------------------------- the chosen series

let refreshView = () => {};

function choose(series) {
  if (series === state.chosen) return;
  state.chosen = series;
  state.range = null;
  state.step = state.series.find((one) => nameOf(one) === series)?.step_ms ?? 0;
  const { name, labels } = parts(series);
  text("name", name);
  $("labels").replaceChildren(...labels.map(([key, value]) => {
    const chip = document.createElement("li");
    chip.textContent = `${key} ${value}`;
    return chip;
  }));
  document.title = `${series} | forecastd`;
  history.replaceState(null, "", `#${new URLSearchParams({ series })}`);
  drawList();
  refreshView();
}

// Ranges that hold between 30 and 3,600 steps; about 170 steps to start with.
function drawRanges() {
  const fitting = RANGES.filter((ms) => ms >= 30 * state.step && ms <= 3600 * state.step).slice(0, 5);
  if (state.range === null) {
    state.range = fitting.reduce((best, ms) =>
      (Math.abs(Math.log(ms / state.step / 170)) < Math.abs(Math.log(best / state.step / 170)) ? ms : best),
    fitting[0] ?? 200 * state.step);
  }
  $("ranges").replaceChildren(...fitting.map((ms) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = duration(ms);
    button.setAttribute("aria-pressed", String(ms === state.range));
    button.addEventListener("click", () => { state.range = ms; drawRanges(); refreshView(); });
    return button;
  }));
}

function pairs(past) {
  if (!past) return [];
  return Array.isArray(past) ? past : past.timestamps.map((ms, i) => [ms, past.values[i]]);
}

async function refreshChosen() {
  const series = state.chosen;
  if (!series) return;
  if (!state.step || state.range === null) {
    state.step ||= (await get(`api/v1/series/${encodeURIComponent(series)}`)).step_ms || SECOND;
    drawRanges();
  }
  let forecast = null;
  let trouble = "";
  let past;
  try {
    const answer = await get("api/v1/forecast", { series, quantiles: QUANTILES, history: duration(state.range) });
    forecast = answer.forecasts.find((one) => one.series === series) ?? answer.forecasts[0];
    past = pairs(forecast.history);
  } catch (error) {
    if (!error.code) throw error;
    trouble = error.message;
    const answer = await get(`api/v1/series/${encodeURIComponent(series)}/points`,
      { start: new Date(Date.now() - state.range).toISOString() });
    past = answer.points;
  }
  if (series !== state.chosen) return;
  $("view").hidden = false;
  chart.show(past, forecast);
  drawHeadline(past, forecast);
  drawFacts(forecast, trouble);
}

function drawHeadline(past, forecast) {
  const last = past.findLast(([, value]) => value !== null);
  text("last-time", last ? moment(last[0], state.step) : "latest");
  text("last-value", last ? number(last[1]) : "none yet");
  text("last-age", last ? ago(Date.now() - last[0]) : "");
  const future = (prefix, i) => {
    text(`${prefix}-time`, forecast ? moment(forecast.timestamps[i], state.step) : "");
    text(`${prefix}-value`, forecast ? number(forecast.quantiles["0.5"][i]) : "");
    text(`${prefix}-band`, forecast
      ? `80 %: ${number(forecast.quantiles["0.1"][i])} to ${number(forecast.quantiles["0.9"][i])}` : "");
  };
  const end = forecast ? forecast.timestamps.length - 1 : 0;
  future("next", 0);
  future("end", end);
  $("chart").setAttribute("aria-label", last && forecast
    ? `latest ${number(last[1])}; forecast for ${moment(forecast.timestamps[end], state.step)}: ` +
      `${number(forecast.quantiles["0.5"][end])}` : "history and forecast");
}

const SERVERS = {
  seasonal_naive: "seasonal naive", last_value: "last value", drift: "drift", damped_trend: "damped trend",
  logsparse: "LogSparse",
};
const serverName = (name) => SERVERS[name] ?? name.replaceAll("_", " ");
const REASONS = {
  no_model: "no model yet for this step", model_failed: "the model failed", no_season: "no season found",
  not_finite: "the model gave no finite answer", no_drift: "no trend to follow", no_trend: "too few values for a trend",
  outage: "too few values since the outage",
};
const reasons = (codes) => codes.split(",").map((code) => REASONS[code] ?? code.replaceAll("_", " ")).join(", ");
const percent = (share) => `${Math.round(share * 100)} %`;

function drawFacts(forecast, trouble) {
  const fact = (id, words, note) => { text(id, words); text(`${id}-note`, note); };
  if (!forecast) {
    fact("served", "no forecast", trouble);
    for (const id of ["skill", "calibration", "data"]) fact(id, "", "");
    $("warnings").hidden = true;
    return;
  }
  const { model, skill, calibration, quality } = forecast;
  fact("served", serverName(forecast.served_by), forecast.fallback_reason
    ? reasons(forecast.fallback_reason)
    : (model ? `model ${model.id}, trained ${ago(Date.now() - Date.parse(model.trained_at))}` : ""));
  if (skill && skill.relative !== null && skill.relative !== undefined) {
    const better = 1 - skill.relative;
    const baseline = serverName(skill.baseline ?? "seasonal_naive");
    fact("skill", Math.abs(better) < 0.005 ? "as the baseline"
      : `${percent(Math.abs(better))} ${better > 0 ? "better" : "worse"}`,
    `than ${baseline}${skill.mase ? `, MASE ${skill.mase.toFixed(2)}` : ""}`);
  } else {
    fact("skill", "not known yet", "");
  }
  if (calibration && calibration.count > 0) {
    fact("calibration", `${percent(calibration.observed)} inside`,
      `the ${percent(calibration.level)} band, of ${count(calibration.count)}`);
  } else {
    fact("calibration", "not known yet", "");
  }
  const flaws = ["missing", "late", "resets"].filter((key) => quality?.[key] > 0)
    .map((key) => `${count(quality[key])} ${key}`);
  fact("data", `every ${span(forecast.step_ms)}, ${forecast.state}`,
    flaws.length ? flaws.join(", ") : "no gaps");
  const warnings = forecast.warnings ?? [];
  $("warnings").hidden = warnings.length === 0;
  $("warnings").replaceChildren(...warnings.map((one) => {
    const row = document.createElement("li");
    row.textContent = (one.detail ?? one.code.replaceAll("_", " ")) +
      (one.since ? `, since ${moment(Date.parse(one.since), state.step)}` : "");
    return row;
  }));
  const quoted = forecast.series.replaceAll("'", "'\\''");
  text("curl", `curl -G ${location.origin}/api/v1/forecast ` +
    `--data-urlencode 'series=${quoted}' -d level=80,95 -d format=csv`);
}

// ---------------------------------------------------------------- training

let training = false;
let listAgain = () => {};
async function refreshJobs() {
  const { jobs } = await get("api/v1/jobs");
  const job = jobs.find((one) => one.state === "running") ?? jobs.find((one) => one.state === "queued");
  if (training && !job) { refreshView(); listAgain(); }
  training = Boolean(job);
  $("training").hidden = !job;
  if (!job) return;
  $("training-bar").value = job.progress ?? 0;
  const loss = Number.isFinite(job.loss) ? `, loss ${job.loss.toFixed(3)}` : "";
  const left = job.seconds_left > 0 ? `, ${span(job.seconds_left * SECOND)} left` : "";
  const work = job.kind === "backtest" ? "backtest" : "training";
  text("training-text", job.state === "queued" ? `${job.kind} waits` : `${work}${loss}${left}`);
}

// ---------------------------------------------------------------- start

$("search").addEventListener("input", drawList);
$("list").addEventListener("keydown", (event) => {
  const move = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const row = move && document.activeElement.closest("li")?.[move];
  if (row) { row.firstChild.focus(); event.preventDefault(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== $("search")) {
    $("search").focus();
    event.preventDefault();
  }
});
$("browse").addEventListener("click", () => {
  const open = $("sidebar").classList.toggle("open");
  $("browse").setAttribute("aria-expanded", String(open));
});
window.addEventListener("hashchange", () => { const series = fromAddress(); if (series) choose(series); });

text("first-reading", `curl ${location.origin}/api/v1/points -H 'Content-Type: application/json' \\
     -d '{"series":"boiler.temp","labels":{"site":"a"},"value":21.4}'`);
text("first-import", `curl ${location.origin}/api/v1/import -H 'Content-Type: text/csv' --data-binary @readings.csv`);

refreshView = repeat(refreshChosen, () => Math.min(10 * SECOND, Math.max(2 * SECOND, state.step / 4)));
listAgain = repeat(refreshList, () => (state.series.length ? LIST_EVERY : 1500));
repeat(refreshJobs, () => (training ? JOBS_EVERY : 2 * JOBS_EVERY));
