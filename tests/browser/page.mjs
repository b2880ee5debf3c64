// The page as a person meets it: empty, with the first series, trained, on a phone, daemon gone.
// SPDX-License-Identifier: Apache-2.0
//
// Started by run.sh, which says in the environment where everything is.

import { readFileSync } from "node:fs";

const { chromium } = await import(process.env.PLAYWRIGHT);
const { URL: url, SAMPLE, DAEMON_PID, SENSOR_PID, PICTURE, TRAIN_SECONDS } = process.env;

let passed = 0;
let failed = 0;
const complaints = [];

async function check(what, work) {
  try {
    await work();
    passed++;
  } catch (error) {
    failed++;
    console.log(`FAILED  ${what}: ${String(error.message).split("\n").slice(0, 3).join(" ")}`);
  }
}

function expect(truth, words) {
  if (!truth) throw new Error(words);
}

async function post(path, body, type = "application/json") {
  const response = await fetch(url + path, { method: "POST", body, headers: { "Content-Type": type } });
  const text = await response.text();
  expect(response.ok, `${path}: ${response.status} ${text.slice(0, 200)}`);
  return text;
}

// Pixels of the chart with the blue of the fan, left and right of the last reading's place.
const bluePixels = (page) => page.evaluate(() => {
  const canvas = document.querySelector("#chart canvas");
  const { width, height } = canvas;
  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const columns = new Set();
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 30 && data[i + 2] - data[i] > 50) {
      count++;
      columns.add((i / 4) % width);
    }
  }
  return { count, share: columns.size / width, middle: [...columns].sort((a, b) => a - b)[columns.size >> 1] / width };
});

async function open(browser, options, address = url) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !/ERR_CONNECTION|willReadFrequently/.test(message.text())) {
      complaints.push(message.text());
    }
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(address);
  return page;
}

async function fanIsDrawn(page) {
  await page.waitForSelector("#chart canvas", { timeout: 15000 });
  await page.waitForFunction(() => document.querySelector("#next-value").textContent !== "", null, { timeout: 15000 });
  await page.waitForTimeout(400);
  const blue = await bluePixels(page);
  expect(blue.count > 800, `only ${blue.count} blue pixels`);
  expect(blue.share > 0.05 && blue.share < 0.8, `the fan takes ${blue.share} of the width`);
  expect(blue.middle > 0.5, `the fan lies at ${blue.middle} of the width, not ahead of the readings`);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"],
});
const desktop = { viewport: { width: 1280, height: 860 }, colorScheme: "light", deviceScaleFactor: 1 };
const phone = { viewport: { width: 390, height: 844 }, colorScheme: "dark", deviceScaleFactor: 2 };

const page = await open(browser, desktop);
await check("an empty store shows how to send a reading", async () => {
  await page.waitForSelector("#welcome:not([hidden])");
  const words = await page.textContent("#first-reading");
  expect(words.includes(`curl ${url}/api/v1/points`), words);
});

await check("a series appears by itself, with a fan", async () => {
  await post("/api/v1/import", readFileSync(SAMPLE), "text/csv");
  await page.waitForSelector("#list li", { timeout: 10000 });
  expect(await page.locator("#list li").count() === 4, "four zones in the list");
  expect((await page.textContent("#name")) === "pjm.load", "the name");
  await fanIsDrawn(page);
});

process.kill(Number(SENSOR_PID), "SIGCONT");
const begun = Date.now();
await check("training shows its progress", async () => {
  await post("/api/v1/train", JSON.stringify({ seconds: Number(TRAIN_SECONDS) }));
  await page.waitForSelector("#training:not([hidden])", { timeout: 10000 });
  await page.waitForFunction(() => document.querySelector("#training-bar").value > 0, null, { timeout: 20000 });
});

await check("readings of this machine join the list", async () => {
  await page.waitForFunction(() => document.querySelectorAll("#list li").length >= 9, null, { timeout: 20000 });
});

await check("searching narrows the list", async () => {
  await page.fill("#search", "DOM");
  await page.waitForFunction(() => document.querySelectorAll("#list li").length === 1, null, { timeout: 3000 });
  await page.fill("#search", "");
});

await check("when the training is over the page says who serves", async () => {
  const left = Number(TRAIN_SECONDS) * 1000 - (Date.now() - begun) + 120000;
  await page.waitForSelector("#training[hidden]", { timeout: left, state: "attached" });
  await page.waitForTimeout(1500);
  const served = await page.textContent("#served");
  expect(served.length > 3, "nobody serves");
  console.log(`  served by ${served}, ${await page.textContent("#served-note")}`);
  await fanIsDrawn(page);
  await page.waitForSelector("#list .dot.learned", { timeout: 8000 });
});

await check("a hover reads the chart", async () => {
  const box = await page.locator("#chart").boundingBox();
  await page.mouse.move(box.x + box.width * 0.95, box.y + box.height / 2);
  await page.waitForFunction(() => document.querySelector("#readout").textContent.includes("median"), null, { timeout: 3000 });
  await page.mouse.move(5, 5);
});

await page.evaluate(() => document.activeElement.blur());
await page.waitForTimeout(300);
await page.screenshot({ path: PICTURE });

const small = await open(browser, phone, page.url());
await check("on a phone the fan is drawn and nothing sticks out", async () => {
  await fanIsDrawn(small);
  const wide = await small.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(wide <= 0, `${wide} pixels too wide`);
});
await check("on a phone the list opens and closes", async () => {
  await small.click("#browse");
  await small.waitForSelector("#list li:nth-child(2) button", { state: "visible" });
  await small.click("#list li:nth-child(2) button");
  await small.waitForSelector("#list", { state: "hidden" });
  await fanIsDrawn(small);
});
await small.screenshot({ path: process.env.PHONE_PICTURE });

await check("nothing was complained about (scripts, styles, policy)", async () => {
  expect(complaints.length === 0, complaints.slice(0, 3).join(" | "));
});

await check("the page says when the daemon is gone", async () => {
  process.kill(Number(DAEMON_PID), "SIGTERM");
  await page.waitForSelector("#banner:not([hidden])", { timeout: 20000 });
  await page.waitForSelector("#chart canvas");
});

await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
