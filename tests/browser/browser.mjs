// Headless Chromium for the checks: pages that collect complaints, waiting, what is painted where.
// SPDX-License-Identifier: Apache-2.0

const { chromium } = await import(process.env.PLAYWRIGHT);

export const DESKTOP = { viewport: { width: 1280, height: 900 }, colorScheme: "light", deviceScaleFactor: 1 };
export const PHONE = { viewport: { width: 390, height: 844 }, colorScheme: "dark", deviceScaleFactor: 1,
  hasTouch: true };

export const complaints = [];
const counts = { passed: 0, failed: 0 };

export async function check(what, work) {
  const begun = Date.now();
  try {
    await work();
    counts.passed++;
    if (process.env.VERBOSE) console.log(`  ok      ${what} (${Date.now() - begun} ms)`);
  } catch (error) {
    counts.failed++;
    console.log(`FAILED  ${what}: ${String(error.message).split("\n").slice(0, 4).join(" ")}`);
  }
}

export function finish() {
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exit(counts.failed ? 1 : 0);
}

export function expect(truth, words) {
  if (!truth) throw new Error(words);
}

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"],
  });
}

// A refusal of the daemon's is an answer that the page expects; anything else on the console is a complaint.
const EXPECTED = /status of (401|404|422)/;

function listen(page) {
  page.on("console", (message) => {
    const words = message.text();
    const answer = EXPECTED.test(words) && message.location().url.includes("/api/v1/");
    if (["error", "warning"].includes(message.type()) && !answer && !/ERR_CONNECTION|willReadFrequently/.test(words)) {
      complaints.push(`${words} ${message.location().url}`);
    }
  });
  page.on("pageerror", (error) => complaints.push(error.message));
}

// A new page in a profile of its own; `prepare(context, page)` runs before the address is opened.
export async function open(browser, options, address, prepare = async () => {}) {
  const context = await browser.newContext(options);
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.violatedDirective}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  listen(page);
  await prepare(context, page);
  await page.goto(address);
  return page;
}

// Waits until the text of an element fits.
export async function words(page, selector, pattern, timeout = 15000) {
  const until = Date.now() + timeout;
  for (;;) {
    const left = Math.max(1, until - Date.now());
    const said = await page.locator(selector).first().textContent({ timeout: left }).catch(() => null);
    if (said !== null && pattern.test(said)) return;
    expect(Date.now() < until, `${selector} says "${said}", not ${pattern}`);
    await page.waitForTimeout(50);
  }
}

// Pixels of the chart near a colour of the page (the value of a custom property), and where they lie.
export const painted = (page, property) => page.evaluate((name) => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  const canvas = document.querySelector("#chart canvas");
  const { width, height } = canvas;
  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const columns = new Set();
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    const far = Math.abs(data[i] - red) + Math.abs(data[i + 1] - green) + Math.abs(data[i + 2] - blue);
    if (data[i + 3] > 200 && far < 60) {
      count++;
      columns.add((i / 4) % width);
    }
  }
  const sorted = [...columns].sort((a, b) => a - b);
  return { count, share: columns.size / width, middle: (sorted[sorted.length >> 1] ?? 0) / width };
}, property);

// The median of the forecast is drawn, to the right of the middle.
export async function fanIsDrawn(page) {
  await page.waitForSelector("#chart canvas");
  await words(page, "#next-value", /\d/);
  await page.waitForTimeout(300);
  const line = await painted(page, "--accent");
  expect(line.count > 100, `only ${line.count} pixels of the median`);
  expect(line.share > 0.05 && line.share < 0.8, `the forecast takes ${line.share} of the width`);
  expect(line.middle > 0.5, `the forecast lies at ${line.middle} of the width, not ahead of the readings`);
}

export async function nothingSticksOut(page) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(wide <= 0, `the page is ${wide} pixels too wide`);
}

// Text against what is behind it: at least 4.5 to 1, large text 3 to 1 (WCAG AA).
export const faintTexts = (page) => page.evaluate(() => {
  const parse = (color) => { const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const over = (top, below) => ({ r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a),
    b: top.b * top.a + below.b * (1 - top.a), a: 1 });
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ({ r, g, b }) => [r, g, b].map((c) => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const faint = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.matches(":disabled, noscript, .skip")) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const [high, low] = [light(over(parse(style.color), back)), light(back)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) faint.add(`"${element.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return [...faint];
});

// Controls that a screen reader could not name.
export const namelessControls = (page) => page.evaluate(() =>
  [...document.querySelectorAll("button, a, input, progress, [role=option], [role=img], dialog")]
    .filter((one) => one.checkVisibility() || one.matches("dialog"))
    .filter((one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length ||
      one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML.slice(0, 80)));
