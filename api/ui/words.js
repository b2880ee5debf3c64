// What the daemon's codes mean in words.
// SPDX-License-Identifier: Apache-2.0

const SERVERS = {
  seasonal_naive: "Seasonal naive", last_value: "Last value", drift: "Drift", damped_trend: "Damped trend",
  seasonal_drift: "Seasonal drift",
  logsparse: "LogSparse", longformer: "Longformer", adaptive_span: "Adaptive Span", transformer_xl: "Transformer-XL",
  reformer: "Reformer", performer: "Performer", linformer: "Linformer", conformer: "Conformer",
  lite_transformer: "Lite Transformer",
};
export const plain = (code) => code.replaceAll("_", " ");
export const serverName = (name) => SERVERS[name] ?? plain(name);

const REASONS = {
  no_model: "no model yet for this step", model_failed: "the model failed", no_season: "no season found",
  not_finite: "the model gave no finite answer", no_drift: "no trend to follow", no_trend: "too few values for a trend",
  outage: "too few values since the outage", no_skill: "the model is worse on this series' newest past",
};
export const reasons = (codes) => codes.split(",").map((code) => REASONS[code] ?? plain(code)).join(", ");

const STATES = {
  learned: "a model serves it", baseline: "a baseline serves it", warming: "too few readings yet",
  stale: "no new readings",
};
export const stateWords = (state) => STATES[state] ?? state;

const WARNINGS = {
  short_history: "Few readings so far: the bands are guesses",
  gaps: "There are gaps in the newest readings",
  stale: "No new readings: the forecast starts from old ones",
  beyond_trained_horizon: "The end lies farther ahead than the model was trained for",
  level_shift_recent: "The level has shifted lately",
  unit_change_suspected: "The unit of the readings seems to have changed",
  irregular_step: "The readings come at irregular times",
  issued_shorter: "Fewer steps were issued than are asked for",
  coarser_step: "On a coarser step, because the end lies so far ahead",
  counter_rate: "A counter: its rise per second is shown",
};
export const warningWords = (code) => WARNINGS[code] ?? plain(code);

const STANDINGS = {
  champion: "champion", previous: "previous", retired: "retired", kept_back: "kept back", corrupt: "damaged",
  newer: "of a newer release",
};
export const standingName = (standing) => STANDINGS[standing] ?? plain(standing);

const DECIDERS = { gate: "the gate", request: "a request", regret: "live regret", start: "the check at start" };
export const decider = (by) => DECIDERS[by] ?? plain(by);
