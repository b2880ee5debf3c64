// What trains: a bar in the head of the page, loss and remaining time on the page of models.
// SPDX-License-Identifier: Apache-2.0

import { get, repeat, send } from "./ask.js";
import { $, sparkline, text } from "./dom.js";
import { span } from "./format.js";

const BUSY_MS = 1200, IDLE_MS = 3000;
const LOSSES_MAX = 400;

const kindName = (job) => (job.kind === "train" ? "training" : job.kind);

export class Training {
  // onEnd(job) is called when a job that was seen running or queued has ended.
  constructor(onEnd) {
    Object.assign(this, { onEnd, job: null, losses: [] });
    $("cancel").addEventListener("click", () => this.cancel());
    $("train").addEventListener("click", () => this.train());
  }

  start() {
    this.again = repeat(() => this.refresh(), () => (this.job ? BUSY_MS : IDLE_MS));
  }

  async train() {
    $("train").disabled = true;
    try {
      await send("POST", "api/v1/train");
      text("models-note", "");
    } catch (error) {
      text("models-note", `No training was begun: ${error.message}.`);
    }
    this.again();
  }

  async cancel() {
    if (!this.job) return;
    try {
      await send("DELETE", `api/v1/jobs/${encodeURIComponent(this.job.id)}`);
    } catch (error) {
      text("models-note", `Not cancelled: ${error.message}.`);
    }
    this.again();
  }

  async refresh() {
    const { jobs } = await get("api/v1/jobs");
    const job = jobs.find((one) => one.state === "running") ?? jobs.find((one) => one.state === "queued") ?? null;
    const before = this.job;
    if (job?.id !== before?.id) this.losses = [];
    this.job = job;
    if (Number.isFinite(job?.loss) && this.losses.at(-1)?.[0] !== job.step) {
      this.losses.push([job.step, job.loss]);
      if (this.losses.length > LOSSES_MAX) this.losses.shift();
    }
    this.draw();
    if (before && job?.id !== before.id) this.onEnd(jobs.find((one) => one.id === before.id) ?? before);
  }

  draw() {
    const { job } = this;
    $("training").hidden = $("job").hidden = !job;
    $("train").disabled = Boolean(job);
    if (!job) return;
    $("training-bar").value = $("job-bar").value = job.progress ?? 0;
    const left = job.seconds_left > 0 ? `${span(job.seconds_left * 1000)} left` : "";
    const loss = Number.isFinite(job.loss) ? `loss ${job.loss.toFixed(3)}` : "";
    const waits = job.state === "queued";
    text("training-text", waits ? `${kindName(job)} waits` : [kindName(job), left].filter(Boolean).join(", "));
    text("job-title", waits ? `${job.id} waits` : `${job.id}: ${job.phase || kindName(job)}`);
    text("job-text", waits ? "" : [`step ${job.step}`, loss, left].filter(Boolean).join(", "));
    sparkline($("loss"), this.losses);
    $("loss").setAttribute("aria-label", loss ? `${loss}, over the steps of this job` : "no loss yet");
  }
}
