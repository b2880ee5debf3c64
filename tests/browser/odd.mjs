// Odd series: a name that has to be quoted, one that is markup, one that is always zero, one that is not there.
// SPDX-License-Identifier: Apache-2.0

import { check, complaints, DESKTOP, expect, open, words } from "./browser.mjs";
import { post, url } from "./daemon.mjs";

const NAMED = 'room = 1, "old"';
const MARKUP = "<img src=x onerror=document.title='taken'>";
const addressOf = (series) => `${url}/#${new URLSearchParams({ series })}`;

export async function odd(browser) {
  const begun = Math.floor(Date.now() / 60000) * 60000;
  const points = (value) => Array.from({ length: 60 }, (_, i) => [begun - i * 60000, value(i)]);
  await post("/api/v1/points", JSON.stringify({ series: NAMED, labels: { site: "a" }, points: points((i) => i % 7) }));
  await post("/api/v1/points", JSON.stringify({ series: MARKUP, labels: { site: MARKUP }, points: points((i) => i % 7) }));
  await post("/api/v1/points", JSON.stringify({ series: "faults", points: points(() => 0) }));
  const page = await open(browser, DESKTOP, addressOf('{"room = 1, \\"old\\"",site="a"}'));
  await check("a name that its text has in quotes is shown in the list and above the chart", async () => {
    await words(page, "#name", /^room = 1, "old"$/);
    await words(page, "#labels", /^site a$/);
    await words(page, "#next-band", /80 %: \d/);
    await page.fill("#search", "room old");
    await words(page, "#found", /^1 found$/);
    await words(page, "#row-0 .series", /^room = 1, "old"$/);
  });
  await check("a name that is markup is a text like any other", async () => {
    await page.fill("#search", "onerror");
    await words(page, "#found", /^1 found$/);
    await words(page, "#row-0 .series", /^<img src=x onerror=document\.title='taken'>$/);
    await page.goto(addressOf(`{"${MARKUP}",site="${MARKUP}"}`));
    await words(page, "#name", /^<img src=x onerror=document\.title='taken'>$/);
    await words(page, "#labels", /^site <img src=x/);
    await words(page, "#next-band", /80 %: \d/);
    expect((await page.title()) !== "taken", "the name was run");
    expect((await page.locator("img[src=x]").count()) === 0, "the name became an element");
  });
  await check("what is always zero has no other numbers", async () => {
    await page.goto(addressOf("faults"));
    await words(page, "#next-band", /^80 %: 0 to 0$/);
  });
  await check("a series that is not there shows nothing of the one before", async () => {
    const before = complaints.length;
    await page.goto(addressOf("no.such"));
    await words(page, "#served-note", /there is no series "no\.such"/);
    for (const id of ["next", "end"]) {
      await words(page, `#${id}-time`, new RegExp(`^${id}$`));
      await words(page, `#${id}-value`, /^$/);
    }
    await words(page, "#last-value", /^none yet$/);
    expect(complaints.length === before, complaints.slice(before).join(" | "));
  });
  await page.context().close();
}
