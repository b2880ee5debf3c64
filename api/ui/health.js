// How the daemon is: readiness, rate of ingest, storage, memory, connections, training; and the line in the head.
// SPDX-License-Identifier: Apache-2.0

import { get, repeat } from "./ask.js";
import { $, make, sparkline, text } from "./dom.js";
import { ago, bytes, count, span } from "./format.js";
import { plain } from "./words.js";

const SEEN_MS = 2000, UNSEEN_MS = 5000;
const RATES_MS = 300000;

const TILES = [
  ["ingest", "Ingest"], ["points", "Stored"], ["disk", "On disk"], ["commit", "Durability"], ["memory", "Memory"],
  ["requests", "Requests"], ["trainer", "Training"], ["daemon", "Daemon"],
];

export class Health {
  // onStatus(status) is called with each answer.
  constructor(onStatus) {
    Object.assign(this, { onStatus, visible: false, before: null, rates: [] });
    $("tiles").replaceChildren(...TILES.map(([id, title]) => make("section", { id: `tile-${id}`, className: "tile" },
      make("h2", {}, title), make("p", { className: "big" }),
      ...(id === "ingest" ? [make("div", { className: "rates" })] : []),
      make("p", { className: "note" }))));
  }

  start() {
    this.again = repeat(() => this.refresh(), () => (this.visible ? SEEN_MS : UNSEEN_MS));
  }

  show(visible) {
    this.visible = visible;
    if (visible) this.again?.();
  }

  async refresh() {
    const [status, ready] = await Promise.all([get("api/v1/status"), this.ready()]);
    this.measure(status);
    this.drawHead(status, ready);
    if (this.visible) this.drawTiles(status, ready);
    this.onStatus(status);
  }

  // 503 is an answer, too: not ready, with reasons. fetch, because there is nothing wrong with asking.
  async ready() {
    const response = await fetch("readyz", { cache: "no-store" });
    return response.json();
  }

  // Points a second since the last look, by what was committed.
  measure(status) {
    const now = performance.now();
    const points = status.commits.points;
    if (this.before && points >= this.before.points && now > this.before.at) {
      this.rates.push([now, ((points - this.before.points) * 1000) / (now - this.before.at)]);
    }
    this.before = { points, at: now };
    this.rates = this.rates.filter(([at]) => at > now - RATES_MS);
  }

  rate() {
    const newest = this.rates.slice(-3);
    return newest.length ? newest.reduce((sum, [, rate]) => sum + rate, 0) / newest.length : NaN;
  }

  rateWords() {
    const rate = this.rate();
    if (!Number.isFinite(rate)) return "measuring";
    const words = rate.toLocaleString("en-US", { maximumFractionDigits: rate < 10 ? 1 : 0 });
    return `${rate >= 10000 ? count(rate) : words} points/s`;
  }

  drawHead(status, ready) {
    const fine = ready.status === "ready";
    $("health-dot").className = `dot ${fine ? "learned" : "trouble"}`;
    $("health-dot").title = fine ? "ready" : ready.reasons.map(plain).join(", ");
    text("summary", status.series ? `${count(status.series)} series, ${count(status.points)} points` +
      `${this.rates.length ? `, ${this.rateWords()}` : ""}` : "");
  }

  tile(id, big, note) {
    const tile = $(`tile-${id}`);
    text(tile.querySelector(".big"), big);
    text(tile.querySelector(".note"), note);
  }

  drawTiles(status, ready) {
    text("health-title", ready.status === "ready" ? "Healthy" : "Not ready");
    this.drawStorage(status);
    this.drawProcess(status, ready);
  }

  drawStorage({ commits, limits, points, series, bytes: size, wal_bytes: log, journal_points: journal, writable }) {
    const most = Math.max(0, ...this.rates.map(([, rate]) => rate));
    this.tile("ingest", this.rateWords(), `at most ${count(Math.ceil(most))} points/s in this view; ` +
      `${count(commits.points)} points since the start`);
    sparkline($("tile-ingest").querySelector(".rates"), this.rates, 0);
    this.tile("points", `${count(points)} points`, `${count(series)} of at most ${count(limits.series)} series, kept ` +
      `${limits.retention_ms ? span(limits.retention_ms) : "for ever"}`);
    this.tile("disk", bytes(size), `${points ? `${(size / points).toFixed(1)} bytes a point; ` : ""}` +
      `log ${bytes(log)}, ${count(journal)} points to compact`);
    this.tile("commit", writable ? "Writable" : "Cannot write", `${count(commits.count)} commits, the last took ` +
      `${(commits.last_seconds * 1000).toFixed(1)} ms; ${commits.failures ? count(commits.failures) : "none"} failed`);
    $("tile-commit").classList.toggle("trouble", !writable);
  }

  drawProcess({ memory, http, trainer, training, version, ...status }, { status: readiness, reasons }) {
    const fine = readiness === "ready";
    this.tile("memory", bytes(status.resident_bytes ?? memory.peak), `allocated ${bytes(memory.allocated)}, at most ` +
      `${bytes(memory.peak)}; newest readings ${bytes(memory.tail)}`);
    this.tile("requests", `${count(http?.connections ?? 0)} connections`,
      `${count(status.live_answers)} forecasts kept ready; ${count(http?.refused_busy ?? 0)} refused while busy`);
    const last = trainer?.last_ended ? `; the last ended ${ago(Date.now() - Date.parse(trainer.last_ended))}, after ` +
      `${span(trainer.last_seconds * 1000)}` : "";
    const stuck = trainer?.stuck ?? false;
    this.tile("trainer", stuck ? "Stuck" : training.state === "idle" ? "Idle" : plain(training.state),
      `${count(trainer?.trained ?? 0)} trainings, ${count(trainer?.promoted ?? 0)} promoted, ` +
      `${count(trainer?.rolled_back ?? 0)} rolled back${last}` +
      (stuck ? "; a job does not stop: restart the daemon" : ""));
    $("tile-trainer").classList.toggle("trouble", stuck);
    this.tile("daemon", `Version ${version}`, `up ${span(status.uptime_seconds * 1000)}, ` +
      `${fine ? "ready" : `not ready: ${reasons.map(plain).join(", ")}`}`);
    $("tile-daemon").classList.toggle("trouble", !fine);
  }
}
