// Asking the daemon: JSON in and out, a token where it wants one, and again and again while it is away.
// SPDX-License-Identifier: Apache-2.0

import { $, text } from "./dom.js";

const KEY = "forecastd-token";
const AWAY_MS = 1000, REFUSED_MS = 60000;
let away = false;
let asking = null;
const onReturn = [];

// Called when the daemon answers again after it did not.
export const whenBack = (work) => onReturn.push(work);

export function banner(words) {
  $("banner").hidden = !words;
  text("banner", words);
}

// One dialog at a time; resolves when a token was given.
function askForToken(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = $("asked");
    if (refused) text("asked-title", "The daemon does not take this token");
    $("token").value = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, $("token").value.trim());
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}

function headers(given) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...given, Authorization: `Bearer ${token}` } : given;
}

// A problem of the daemon's is an Error with its members (code, detail, hint, status); no answer is a TypeError.
async function ask(path, options = {}) {
  for (;;) {
    if (asking) await asking;
    const sent = sessionStorage.getItem(KEY);
    const response = await fetch(path, { cache: "no-store", ...options, headers: headers(options.headers ?? {}) });
    if (response.status === 401) {
      if (sent === sessionStorage.getItem(KEY)) await askForToken(Boolean(sent));
      continue;
    }
    const words = await response.text();
    const body = words ? JSON.parse(words) : null;
    if (!response.ok) {
      const error = new Error(body?.detail ?? body?.title ?? response.statusText);
      throw Object.assign(error, body, { status: response.status });
    }
    return body;
  }
}

export function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(parameters).toString();
  return ask(`${path}${query ? "?" : ""}${query}`, { signal });
}

export function send(method, path, body = {}) {
  return ask(path, { method, body: method === "DELETE" ? undefined : JSON.stringify(body),
    headers: method === "DELETE" ? {} : { "Content-Type": "application/json" } });
}

const unreachable = (error) => error instanceof TypeError || error instanceof SyntaxError;

function noteReturn() {
  if (!away) return;
  away = false;
  banner("");
  onReturn.forEach((work) => work());
}

// Runs `work` now and then again `pause()` milliseconds after it ended, while the page is visible. Returns a function
// that runs it at once. A daemon that is away is asked every second.
export function repeat(work, pause) {
  let timer = 0;
  let round = 0;
  const turn = async () => {
    const mine = ++round;
    let refused = false;
    clearTimeout(timer);
    if (!document.hidden) {
      try {
        await work();
        noteReturn();
      } catch (error) {
        if (unreachable(error)) {
          away = true;
          banner("The daemon does not answer. Trying again every second; what is shown is from before.");
        } else if (error.status >= 500) {
          banner(`The daemon cannot answer now: ${error.message}`);
          away = true;
        } else if (error.status === 403) {
          refused = true; // not for this token: asked again now and then
        } else if (error.name !== "AbortError") {
          console.error(error);
        }
      }
    }
    if (mine === round) timer = setTimeout(turn, away ? AWAY_MS : refused ? REFUSED_MS : pause());
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
  turn();
  return turn;
}
