// The same on a phone, in the dark.
// SPDX-License-Identifier: Apache-2.0

import { check, DESKTOP, expect, faintTexts, fanIsDrawn, nothingSticksOut, open, PHONE, words } from "./browser.mjs";
import { url } from "./daemon.mjs";

const AEP = `${url}/#${new URLSearchParams({ series: 'pjm.load{replay="2018",zone="AEP"}' })}`;

export async function phone(browser, pictures) {
  const page = await open(browser, PHONE, AEP);
  await check("on a phone the fan is drawn, nothing sticks out, nothing is too faint", async () => {
    await fanIsDrawn(page);
    await nothingSticksOut(page);
    expect((await faintTexts(page)).length === 0, `too faint: ${await faintTexts(page)}`);
  });
  await page.screenshot({ path: pictures.phone });
  await check("on a phone the list opens, searches, chooses and closes", async () => {
    await page.tap("#browse");
    await page.waitForSelector("#rows > div", { state: "visible" });
    await page.fill("#search", "comed");
    await words(page, "#found", /^1 found$/);
    await page.tap("#row-0");
    await page.waitForSelector("#list", { state: "hidden" });
    await words(page, "#labels", /zone COMED/);
    await fanIsDrawn(page);
  });
  await check("models and health fit on a phone", async () => {
    for (const name of ["models", "health"]) {
      await page.tap(`#pages a[data-page=${name}]`);
      await page.waitForSelector(`#${name}:not([hidden])`);
      await page.waitForTimeout(400);
      await nothingSticksOut(page);
    }
    await page.waitForSelector("#tile-memory .big:not(:empty)");
  });
  await page.context().close();
  const dark = await open(browser, { ...DESKTOP, colorScheme: "dark" }, AEP);
  await check("in the dark the wide page is readable", async () => {
    await fanIsDrawn(dark);
    expect((await faintTexts(dark)).length === 0, `too faint: ${await faintTexts(dark)}`);
  });
  await dark.screenshot({ path: pictures.dark });
  await dark.context().close();
}
