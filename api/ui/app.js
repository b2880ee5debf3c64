// The page: which part of it is shown, how parts hear of each other, keys for all of it.
// SPDX-License-Identifier: Apache-2.0
//
// Nothing is stored but the choice, in the address behind '#', so a link shows the same. Hidden pages ask for nothing.

import { get, repeat, whenBack } from "./ask.js";
import { $, copyButton } from "./dom.js";
import { Health } from "./health.js";
import { List } from "./list.js";
import { Models } from "./models.js";
import { Series } from "./series.js";
import { Training } from "./training.js";
import { Welcome } from "./welcome.js";

const LIST_EVERY = 5000, EMPTY_EVERY = 1000;

const welcome = new Welcome();
const series = new Series();
const list = new List((text) => { openSidebar(false); location.hash = new URLSearchParams({ series: text }); });
const models = new Models(() => { series.refreshNow(); refreshList(); });
const training = new Training(() => { models.show(page() === "models"); series.refreshNow(); refreshList(); });
const health = new Health(() => {});
let refreshList = () => {};
let empty = null; // whether there are no series; null: not known yet

// ---------------------------------------------------------------- what is shown

const address = () => new URLSearchParams(location.hash.slice(1));

function page() {
  for (const name of ["models", "health"]) if (address().has(name)) return name;
  return "series";
}

function route() {
  const now = page();
  const wanted = address().get("series");
  if (wanted && wanted !== series.chosen) {
    series.choose(wanted);
    list.select(wanted);
  }
  const first = empty === true && now === "series";
  $("view").hidden = now !== "series" || empty !== false;
  $("models").hidden = now !== "models";
  $("health").hidden = now !== "health";
  $("sidebar").hidden = $("browse").hidden = empty === true;
  if (first) welcome.show();
  else $("welcome").hidden = true;
  models.show(now === "models");
  health.show(now === "health");
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.dataset.page === now) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = now === "series" ? series.chosen : now;
  document.title = title ? `${title} | forecastd` : "forecastd";
}

function openSidebar(open) {
  $("sidebar").classList.toggle("open", open);
  $("browse").setAttribute("aria-expanded", String(open));
}

// ---------------------------------------------------------------- the list

// The first that a model serves, or else the first.
const favourite = () => (list.source.rows.find((one) => one.state === "learned") ?? list.source.rows[0]).series;

async function isThere(wanted) {
  if (list.source.indexOf(wanted) >= 0) return true;
  try {
    await get(`api/v1/series/${encodeURIComponent(wanted)}`);
    return true;
  } catch (error) {
    if (!error.code) throw error;
    return false;
  }
}

async function firstSeries() {
  if (empty) await welcome.arrived(list.source.rows[0]);
  empty = false;
  const wanted = address().get("series");
  const chosen = wanted && (await isThere(wanted)) ? wanted : favourite();
  series.choose(chosen);
  list.select(chosen);
  if (page() === "series") history.replaceState(null, "", `#${new URLSearchParams({ series: chosen })}`);
  route();
}

async function lookAtList() {
  if (empty === false) {
    await list.refresh();
  } else {
    await list.search("");
    if (list.source.rows.length) await firstSeries();
    else if (empty === null) { empty = true; route(); }
  }
}

// ---------------------------------------------------------------- keys and links

const KEYS = {
  "/": () => { openSidebar(true); $("search").focus(); $("search").select(); },
  "?": () => $("keys").showModal(),
  f: () => { location.hash = series.chosen ? new URLSearchParams({ series: series.chosen }) : "series"; },
  m: () => { location.hash = "models"; },
  h: () => { location.hash = "health"; },
  "[": () => series.stepRange(-1),
  "]": () => series.stepRange(1),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea") || document.querySelector("dialog[open]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  KEYS[event.key]();
  event.preventDefault();
});
$("browse").addEventListener("click", () => openSidebar(!$("sidebar").classList.contains("open")));
document.querySelector('#pages a[data-page="series"]').addEventListener("click", (event) => {
  if (!series.chosen) return;
  event.preventDefault();
  KEYS.f();
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
window.addEventListener("hashchange", route);
$("curl").closest(".code").append(copyButton(() => $("curl").textContent));

// ---------------------------------------------------------------- start

refreshList = repeat(lookAtList, () => (empty === false ? LIST_EVERY : EMPTY_EVERY));
series.start();
training.start();
health.start();
whenBack(() => { refreshList(); series.refreshNow(); });
route();
