// One series under ingest: fan, hover, ranges, zones, keys, who serves, what was said, accuracy, anomalies.
// SPDX-License-Identifier: Apache-2.0

import { check, DESKTOP, expect, faintTexts, fanIsDrawn, namelessControls, open, painted, words } from "./browser.mjs";
import { ask, QUICK, sleep, url } from "./daemon.mjs";

const AEP = 'pjm.load{replay="2018",zone="AEP"}';
const addressOf = (series) => `${url}/#${new URLSearchParams({ series })}`;

export async function forecasts(page, pictures) {
  await check("the address chooses a series; a link shows the same", async () => {
    await page.goto(addressOf(AEP));
    await words(page, "#name", /^pjm\.load$/);
    await words(page, "#labels", /zone AEP/);
    await fanIsDrawn(page);
  });
  await check("the page says who serves, how good, how calibrated, and on what data", async () => {
    await words(page, "#served", /LogSparse/);
    await words(page, "#served-note", /model 1h-\d+, trained/);
    await words(page, "#skill", /% (better|worse)|as the baseline/);
    await words(page, "#calibration-note", /the 80 % band, of/);
    await words(page, "#data", /every 1 h/);
    console.log(`  ${await page.textContent("#served-note")}: ${await page.textContent("#skill")} ` +
      await page.textContent("#skill-note"));
  });
  await check("a hover reads the chart, with the time in UTC behind it", async () => {
    const box = await page.locator("#chart").boundingBox();
    await page.mouse.move(box.x + box.width * 0.95, box.y + box.height / 2);
    await words(page, "#readout", /median .*80 % .*95 % /);
    expect(/\d UTC$/.test(await page.getAttribute("#readout", "title")), "no UTC");
    await page.mouse.move(5, 5);
  });
  await check("another range shows another history", async () => {
    const asked = page.waitForRequest((request) => request.url().includes("history=2w"));
    await page.click("#ranges button:has-text('2w')");
    await asked;
    const answered = page.waitForResponse((answer) => answer.url().includes("history=1w"));
    await page.keyboard.press("[");
    await page.waitForSelector("#ranges button:has-text('1w')[aria-pressed=true]");
    await answered;
  });
  await check("the numbers behind the chart are a table", async () => {
    await page.click("#numbers summary");
    await page.waitForSelector("#numbers-table tbody tr");
    const rows = await page.locator("#numbers-table tbody tr").count();
    expect(rows === 48, `${rows} rows`);
    await page.click("#numbers summary");
  });
  await check("everything has a name, and its text is not too faint", async () => {
    expect((await namelessControls(page)).length === 0, `nameless: ${await namelessControls(page)}`);
    expect((await faintTexts(page)).length === 0, `too faint: ${await faintTexts(page)}`);
  });
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await page.waitForTimeout(300);
  await page.screenshot({ path: pictures.wide });
}

export async function zones(browser) {
  const page = await open(browser, { ...DESKTOP, timezoneId: "Asia/Kolkata" }, addressOf(AEP));
  await check("times are the user's, with UTC on hover", async () => {
    await words(page, "#last-time", /:30/);
    const utc = await page.getAttribute("#last-time", "title");
    expect(/:00:00 UTC$/.test(utc), utc);
  });
  await page.context().close();
}

// What was said needs a forecast that was issued a while ago, and readings since then.
export async function judged(page, pictures) {
  for (let tries = 0; tries < 110; tries++) {
    const answer = await ask(`/api/v1/accuracy?series=${encodeURIComponent(QUICK)}`);
    const at = new Date(Date.now() - 31000).toISOString();
    const said = await ask(`/api/v1/forecast?series=${encodeURIComponent(QUICK)}&at=${at}`);
    if (said.forecasts && answer.series[0].count > 20) break;
    await sleep(1000);
  }
  await check("what did we say: the forecast as it was issued, against what came", async () => {
    await page.goto(addressOf(QUICK));
    await words(page, "#name", /^plant\.power_watts$/);
    await words(page, "#last-value", /\d\u00a0W$/);
    const none = (await painted(page, "--said")).count;
    await page.click("#offsets button:has-text('30 s ago')");
    await words(page, "#verdict",
      /Said .* by .*, for 48 s.*: \d+ % inside the 80 % band, [\d.,]+\u00a0W off the median/);
    await page.waitForTimeout(300);
    const some = (await painted(page, "--said")).count;
    expect(some > none + 40, `${none} pixels before, ${some} after`);
    expect(await page.isVisible("#said-key"), "no key");
    console.log(`  ${await page.textContent("#verdict")}`);
  });
  await page.screenshot({ path: pictures.past, fullPage: true });
  await check("a click into the past asks what was said then; off ends it", async () => {
    const box = await page.locator("#chart .u-over").boundingBox();
    const asked = page.waitForRequest((request) => /[?&]at=/.test(request.url()));
    await page.mouse.click(box.x + box.width * 0.6, box.y + box.height / 2);
    await asked;
    await page.click("#offsets button:has-text('off')");
    await page.waitForSelector("#said-key", { state: "hidden" });
    await words(page, "#verdict", /^Choose a moment/);
  });
  await check("a moment of which nothing is kept is said to be one", async () => {
    await page.fill("#moment", "2026-01-01T00:00:00");
    await page.dispatchEvent("#moment", "change");
    await words(page, "#verdict", /Nothing is kept/);
    await page.click("#offsets button:has-text('off')");
  });
  await check("accuracy and coverage stand along the horizon", async () => {
    await page.click("#windows button:has-text('1 d')");
    await words(page, "#accuracy-body", /inside 80 %/);
    const table = await page.textContent("#accuracy-body");
    expect(/0 s to 16 s/.test(table) && /all\d+\d\.\d\d/.test(table), table);
    expect(await page.locator("#accuracy-body .bar").count() >= 4, "no bars of coverage");
    for (const part of ["#accuracy-body", "#anomalies-body"]) {
      const hidden = await page.evaluate((id) => {
        const { scrollWidth, clientWidth } = document.querySelector(id);
        return scrollWidth - clientWidth;
      }, part);
      expect(hidden <= 0, `${hidden} pixels of ${part} are out of sight`);
    }
  });
}

// The contract of the route: [ms, value, score], 1.0 is the threshold.
export async function anomalies(browser) {
  let odd = [];
  const page = await open(browser, DESKTOP, addressOf(AEP), (context) =>
    context.route("**/api/v1/anomalies?*", async (route) => {
      const { points } = await ask(`/api/v1/series/${encodeURIComponent(AEP)}/points?start=` +
        encodeURIComponent(new Date(Date.now() - 100 * 3600000).toISOString()));
      odd = [[...points[10], 0.4], [...points[30], 2.5], [...points[50], 1.1]];
      await route.fulfill({ json: { points: odd } });
    }));
  await check("anomalies are circles in the chart and a list, above the threshold only", async () => {
    await words(page, "#anomalies-body", /2\.5 ×/);
    expect(await page.locator("#anomalies-body tbody tr").count() === 2, "not the two above the threshold");
    expect(await page.isVisible("#anomaly-key"), "no key");
    await page.waitForTimeout(300);
    const marks = await painted(page, "--now");
    expect(marks.count > 60 && marks.share > 0.015, `${marks.count} pixels in ${marks.share} of the width`);
  });
  await page.context().close();
  let asked = 0;
  const bare = await open(browser, DESKTOP, addressOf(AEP), (context) =>
    context.route("**/api/v1/anomalies?*", (route) => {
      asked++;
      return route.fulfill({ status: 404, json: { code: "unknown_route", title: "No such route", status: 404 } });
    }));
  await check("a daemon without anomalies is not asked again, and the part is left out", async () => {
    await fanIsDrawn(bare);
    await bare.waitForTimeout(500);
    const before = asked;
    await bare.click("#ranges button:has-text('2d')");
    await bare.waitForTimeout(500);
    expect(before > 0 && asked === before, `asked ${before} times, and then ${asked - before} more`);
    expect(await bare.isHidden("#anomalies"), "the part is shown");
  });
  await bare.context().close();
}
