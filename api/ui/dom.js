// Elements by id and new ones. Everything from the daemon goes into text nodes, never into markup.
// SPDX-License-Identifier: Apache-2.0

import { moment, utc } from "./format.js";

export const $ = (id) => document.getElementById(id);

// Sets the text of an element where it is another one, so that nothing flickers and selections stay.
export function text(id, words) {
  const element = typeof id === "string" ? $(id) : id;
  if (element.textContent !== words) element.textContent = words;
}

// make("td", { className: "n", title: "..." }, "words", child, ...)
export function make(kind, properties = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A moment in the user's zone; the pointer over it says it in UTC.
export function time(ms, stepMs = 60000) {
  return make("time", { dateTime: new Date(ms).toISOString(), title: utc(ms) }, moment(ms, stepMs));
}

// The same as the text of an element that is there already.
export function setTime(id, ms, stepMs) {
  text(id, moment(ms, stepMs));
  $(id).title = utc(ms);
}

// Buttons of which one is pressed. choices: [[value, words], ...]
export function pressable(id, choices, chosen, choose) {
  const group = $(id);
  const now = JSON.stringify([choices, chosen]);
  if (group.dataset.shown === now) return;
  group.dataset.shown = now;
  const focused = [...group.children].indexOf(document.activeElement);
  group.replaceChildren(...choices.map(([value, words]) => {
    const button = make("button", { type: "button", "aria-pressed": String(value === chosen) }, words);
    button.addEventListener("click", () => choose(value));
    return button;
  }));
  group.children[focused]?.focus();
}

export function copyButton(words) {
  const button = make("button", { type: "button", className: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(words());
      button.textContent = "Copied";
    } catch {
      // Without a secure context there is no clipboard: choose the text, so that the keyboard copies it.
      const code = button.parentElement.querySelector("code");
      getSelection().selectAllChildren(code);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

// Asks before something is done; resolves to true or false. The safe answer has the focus.
export function confirmed(title, words, verb) {
  text("question-title", title);
  text("question-text", words);
  text("yes", verb);
  const dialog = $("question");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

const SVG = "http://www.w3.org/2000/svg";

// A small line of values over time: [[x, y], ...], drawn into `element` from `low` up.
export function sparkline(element, values, low) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 28");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  if (values.length > 1) {
    const first = values[0][0];
    const width = values[values.length - 1][0] - first || 1;
    const ys = values.map(([, y]) => y);
    const floor = low ?? Math.min(...ys);
    const height = Math.max(...ys) - floor || 1;
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", values.map(([x, y]) =>
      `${(((x - first) / width) * 100).toFixed(2)},${(26.5 - ((y - floor) / height) * 25).toFixed(2)}`).join(" "));
    svg.append(line);
  }
  element.replaceChildren(svg);
}
