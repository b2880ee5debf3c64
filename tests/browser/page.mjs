// The page as a person meets it: empty, with the first series, trained, judged, on a phone, among ten thousand, and
// with the daemon gone. Order matters: each part stands on what the ones before have brought in.
// SPDX-License-Identifier: Apache-2.0
//
// Started by run.sh, which says in the environment where everything is.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";

import { check, complaints, expect, finish, launch, words } from "./browser.mjs";
import { feed, post, start, stop, url } from "./daemon.mjs";
import { firstRun, tokens } from "./first_run.mjs";
import { anomalies, forecasts, judged, zones } from "./forecast.mjs";
import { load } from "./load.mjs";
import { many } from "./many.mjs";
import { odd } from "./odd.mjs";
import { phone } from "./phone.mjs";
import { away, health, models, training } from "./service.mjs";

const { PICTURES, OTHER_PICTURES, SAMPLE, SENSOR, TRAIN_SECONDS } = process.env;
const shown = (name) => `${PICTURES}/page${name}.png`; // in the README
const other = (name) => `${OTHER_PICTURES}/page${name}.png`; // to look at
const pictures = { wide: shown(""), past: shown("-past"), models: shown("-models"), phone: shown("-phone"),
  first: other("-first"), health: other("-health"), dark: other("-dark") };

await start();
const browser = await launch();
const page = await firstRun(browser, pictures);

await check("series come into the list by themselves", async () => {
  await post("/api/v1/import", readFileSync(SAMPLE), "text/csv");
  await feed();
  await words(page, "#found", /^6 series$/);
});
const sensor = spawn(SENSOR, [url], { stdio: "ignore" });
process.on("exit", () => sensor.kill());
await training(page, Number(TRAIN_SECONDS));
await check("readings of this machine join the list", async () => words(page, "#found", /^11 series$/, 20000));

await forecasts(page, pictures);
await zones(browser);
await load(browser);
await tokens(browser);
await phone(browser, pictures);
await anomalies(browser);
await page.goto(`${url}/#models`);
await models(page, pictures);
await health(page, pictures);
await judged(page, pictures);
await many(browser);
await odd(browser);
await away(page);

await check("nothing was complained about (scripts, styles, policy)", async () => {
  expect(complaints.length === 0, complaints.slice(0, 3).join(" | "));
});
await browser.close();
await stop();
finish();
