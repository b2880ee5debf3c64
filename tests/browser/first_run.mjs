// The empty daemon: how to send a reading, and what happens when it comes; a token where one is asked for.
// SPDX-License-Identifier: Apache-2.0

import { check, DESKTOP, expect, faintTexts, open, PHONE, nothingSticksOut, painted, words } from "./browser.mjs";
import { post, url } from "./daemon.mjs";

export async function firstRun(browser, pictures) {
  const page = await open(browser, DESKTOP, url, (context) =>
    context.grantPermissions(["clipboard-read", "clipboard-write"]));
  await check("an empty store shows how to send a reading, with this address", async () => {
    await page.waitForSelector("#welcome:not([hidden])");
    await words(page, "#way code", new RegExp(`curl ${url}/api/v1/points`));
    expect(await page.isHidden("#sidebar") && await page.isHidden("#view"), "an empty list or view is shown");
    expect((await faintTexts(page)).length === 0, `too faint: ${await faintTexts(page)}`);
  });
  await check("the other ways are a tab away, by key as well", async () => {
    await page.click("text=Prometheus");
    await words(page, "#way code", new RegExp(`remote_write:\\s+- url: ${url}/api/v1/write`));
    await page.keyboard.press("ArrowRight");
    await words(page, "#way code", /outputs\.influxdb/);
    await page.keyboard.press("ArrowRight");
    await words(page, "#way code", /api\/v1\/import/);
    expect(await page.evaluate(() => document.activeElement.textContent) === "CSV", "focus did not follow");
  });
  await check("the copy button copies", async () => {
    await page.click("#way .copy");
    await words(page, "#way .copy", /Copied/);
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied.includes(`curl ${url}/api/v1/import`), copied);
  });
  await page.click("#way-0");
  await page.screenshot({ path: pictures.first });
  const small = await open(browser, PHONE, url);
  await check("the first run fits on a phone", async () => {
    await small.waitForSelector("#welcome:not([hidden])");
    await nothingSticksOut(small);
  });
  await small.context().close();
  await check("the command that it shows is taken as it stands, and the page reacts", async () => {
    const code = await page.textContent("#way code");
    const [, body] = code.match(/-d '([^']+)'/);
    await post("/api/v1/points", body);
    await words(page, "#arrival-text", /boiler\.temp\{site="a"\} has arrived/, 5000);
    await page.waitForSelector("#view:not([hidden])");
    await words(page, "#name", /^boiler\.temp$/);
    await words(page, "#last-value", /21\.4/);
    await words(page, "#served-note", /\w/);
    expect(await page.isHidden("#welcome"), "the first run is still shown");
    await page.waitForTimeout(300);
    expect((await painted(page, "--history")).count > 8, "the reading is not in the chart");
  });
  return page;
}

const TOKEN = "a-token-of-this-test";

async function guard(context) {
  await context.route("**/api/v1/**", (route) => (route.request().headers().authorization === `Bearer ${TOKEN}`
    ? route.continue()
    : route.fulfill({ status: 401, contentType: "application/problem+json",
      body: JSON.stringify({ code: "unauthorized", title: "Token wanted", status: 401 }) })));
}

export async function tokens(browser) {
  const page = await open(browser, DESKTOP, url, guard);
  await check("where the daemon asks for a token, the page asks for it and keeps it in the tab", async () => {
    await page.waitForSelector("#asked[open]");
    await page.fill("#token", "a wrong one");
    await page.keyboard.press("Enter");
    await words(page, "#asked-title", /does not take/);
    await page.waitForSelector("#asked[open]");
    await page.fill("#token", TOKEN);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#rows [role=option]");
    const kept = await page.evaluate(() =>
      [Object.values(sessionStorage).join(), localStorage.length, document.cookie]);
    expect(kept[0] === TOKEN && kept[1] === 0 && kept[2] === "", `kept as ${kept}`);
    await page.reload();
    await page.waitForSelector("#rows [role=option]");
    expect(await page.isHidden("#asked"), "it asks again");
  });
  await page.context().close();
}
