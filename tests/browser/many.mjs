// Ten thousand series: found in the time of a few keys, by keyboard alone, with few elements.
// SPDX-License-Identifier: Apache-2.0

import { check, DESKTOP, expect, open, words } from "./browser.mjs";
import { ask, fleet, url } from "./daemon.mjs";

const COUNT = 10000;
const FOUND_MS = 500; // typing pause of 90 ms, the search, two frames

// Milliseconds from the last key of a search to its result on the screen.
async function searchTime(page, typed, first) {
  await page.fill("#search", "");
  await page.waitForFunction(() => /series/.test(document.querySelector("#found").textContent));
  return page.evaluate(([text, wanted]) => new Promise((resolve) => {
    const search = document.querySelector("#search");
    const begun = performance.now();
    search.value = text;
    search.dispatchEvent(new Event("input"));
    const look = () => (document.querySelector("#row-0")?.title.includes(wanted) &&
      /found/.test(document.querySelector("#found").textContent)
      ? requestAnimationFrame(() => resolve(performance.now() - begun)) : requestAnimationFrame(look));
    look();
  }), [typed, first]);
}

export async function many(browser) {
  await fleet(COUNT);
  const { series } = await ask("/api/v1/status");
  const page = await open(browser, DESKTOP, url);
  await check(`${series.toLocaleString("en-US")} series are counted, and few are elements`, async () => {
    await page.waitForSelector("#rows [role=option]");
    await words(page, "#found", /thousand series/);
    const rows = await page.locator("#rows > div").count();
    expect(rows >= 15 && rows < 60, `${rows} rows in the document`);
  });
  await check(`a series among them is found within ${FOUND_MS} ms`, async () => {
    const times = [];
    for (const [typed, wanted] of [["web-07342", "web-07342"], ["CELSIUS r39 web-09", "web-09"], ["zone=aep", "AEP"]]) {
      times.push(await searchTime(page, typed, wanted));
    }
    const begun = performance.now();
    const answer = await ask("/api/v1/series?search=web-07342&limit=50");
    const server = performance.now() - begun;
    expect(answer.total === 1, `the daemon found ${answer.total}`);
    console.log(`  search among ${series}: ${times.map((one) => one.toFixed(0)).join(", ")} ms from the last key ` +
      `(90 of them waiting for more keys); the daemon answers in ${server.toFixed(0)} ms`);
    expect(Math.min(...times) < FOUND_MS, `${times} ms`);
  });
  await check("the keyboard alone finds, moves, chooses and leaves", async () => {
    await page.fill("#search", "");
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("/");
    await page.keyboard.type("fleet r7");
    await words(page, "#found", /^250 found$/);
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowDown");
    const active = await page.getAttribute("#search", "aria-activedescendant");
    expect(active === "row-3", `active is ${active}`);
    const title = await page.getAttribute("#row-3", "title");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => /web-/.test(document.querySelector("#labels").textContent));
    const labels = await page.textContent("#labels");
    expect(title.includes(labels.match(/web-\d+/)[0]), `${labels} is not ${title}`);
    expect(await page.getAttribute("#row-3", "aria-selected") === "true", "not selected");
    await page.keyboard.press("Escape");
    await words(page, "#found", /thousand series/);
    await page.keyboard.press("Escape");
    expect(await page.evaluate(() => document.activeElement === document.body), "the focus stays in the field");
    await page.keyboard.press("m");
    await page.waitForSelector("#models:not([hidden])");
    await page.keyboard.press("?");
    await page.waitForSelector("#keys[open]");
    await page.keyboard.press("Escape");
    await page.keyboard.press("f");
    await page.waitForSelector("#view:not([hidden])");
    await words(page, "#next-value", /\d\u00a0°C/);
  });
  await check("the list goes to its end, row by row fetched and few kept", async () => {
    await page.focus("#list");
    const begun = performance.now();
    await page.keyboard.press("End");
    await page.waitForFunction((total) =>
      /web-09999/.test(document.querySelector(`#row-${total - 1}`)?.title ?? ""), series);
    console.log(`  to the end of ${series} series in ${(performance.now() - begun).toFixed(0)} ms`);
    const rows = await page.locator("#rows > div").count();
    expect(rows < 60, `${rows} rows in the document`);
  });
  await check("what is not there is said not to be", async () => {
    await page.fill("#search", "no such thing");
    await words(page, "#found", /No series has all/);
  });
  await page.context().close();
}
