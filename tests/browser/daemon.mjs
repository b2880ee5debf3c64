// The daemon under test: started, stopped and started again on one port, and readings for it.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from "node:child_process";
import { openSync, readFileSync } from "node:fs";

const { FORECASTD, PORT, SCRATCH } = process.env;
export const url = `http://127.0.0.1:${PORT}`;
let child = null;

export const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export async function start() {
  const log = openSync(`${SCRATCH}/log`, "a");
  child = spawn(FORECASTD, ["serve", "--set", `server.listen=127.0.0.1:${PORT}`,
    "--set", `storage.path=${SCRATCH}/data`, "--set", "train.seconds=8s",
    "--set", "train.every=7d"], { stdio: ["ignore", log, log] });
  for (let tries = 0; tries < 100; tries++) {
    const up = await fetch(`${url}/healthz`).then((answer) => answer.ok, () => false);
    if (up) return;
    await sleep(100);
  }
  throw new Error(`the daemon does not start:\n${readFileSync(`${SCRATCH}/log`, "utf8").slice(-2000)}`);
}

export async function stop() {
  if (!child) return;
  const ended = new Promise((resolve) => { child.once("exit", resolve); });
  child.kill("SIGTERM");
  await ended;
  child = null;
}
process.on("exit", () => child?.kill("SIGKILL"));

export async function post(path, body, type = "application/json") {
  const response = await fetch(url + path, { method: "POST", body, headers: { "Content-Type": type } });
  const words = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${words.slice(0, 200)}`);
  return words;
}

// A training from its request to its end.
export async function train(order, during = async () => {}) {
  const { id } = JSON.parse(await post("/api/v1/train", JSON.stringify(order)));
  await during();
  for (let tries = 0; tries < 300; tries++) {
    const { state } = await ask(`/api/v1/jobs/${id}`);
    if (state === "done") return;
    if (state !== "queued" && state !== "running") throw new Error(`${id} is ${state}`);
    await sleep(500);
  }
  throw new Error(`${id} does not end`);
}

export const ask = async (path) => (await fetch(url + path)).json();

// ---------------------------------------------------------------- readings

// The sample's first zone again as a series of one second: its hours become seconds, up to now and then on, so that
// there are forecasts of the near past to look back at.
export const QUICK = 'plant.power_watts{site="north"}';
const HISTORY = 1500;
const AHEAD = 600;

function sampleValues() {
  const line = readFileSync(process.env.SAMPLE, "utf8").split("\n").find((one) => one.includes("AEP"));
  return line.slice(line.lastIndexOf(",") + 1).trim().split(" ").map(Number);
}

export async function feed() {
  const values = sampleValues().slice(-HISTORY - AHEAD);
  const begun = Math.floor(Date.now() / 1000) * 1000;
  const object = (points) => JSON.stringify({ series: "plant.power_watts", labels: { site: "north" }, points });
  const past = values.slice(0, HISTORY).map((value, i) => [begun - (HISTORY - i) * 1000, value]);
  await post("/api/v1/points", object(past));
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.floor((Date.now() - begun) / 1000) + 1;
    const points = [];
    for (; sent < due && HISTORY + sent < values.length; sent++) {
      points.push([begun + sent * 1000, values[HISTORY + sent]]);
    }
    if (points.length) post("/api/v1/points", object(points)).catch(() => { sent -= points.length; });
  }, 500);
  timer.unref();
}

// `count` series of a fleet of machines with two readings each.
export async function fleet(count) {
  const now = Date.now();
  for (let first = 0; first < count; first += 1000) {
    const lines = [];
    for (let i = first; i < first + 1000; i++) {
      const labels = { host: `web-${String(i).padStart(5, "0")}`, rack: `r${i % 40}` };
      lines.push(JSON.stringify({ series: "fleet.temperature_celsius", labels,
        points: [[now - 60000, 20 + (i % 17)], [now, 21 + (i % 17)]] }));
    }
    await post("/api/v1/points", lines.join("\n"), "application/x-ndjson");
  }
}
