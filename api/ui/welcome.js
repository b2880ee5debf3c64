// The first run: how to send the first reading, from what people have, with this daemon's own address.
// SPDX-License-Identifier: Apache-2.0

import { $, copyButton, make, text } from "./dom.js";

const base = new URL(".", document.baseURI).href.replace(/\/$/, "");

const WAYS = [
  ["curl", "One reading, from a shell:",
    `curl ${base}/api/v1/points -H 'Content-Type: application/json' \\
     -d '{"series":"boiler.temp","labels":{"site":"a"},"value":21.4}'`],
  ["Prometheus", "Everything that a Prometheus scrapes, in its prometheus.yml:",
    `remote_write:
  - url: ${base}/api/v1/write`],
  ["Telegraf", "Everything that a Telegraf gathers, in its telegraf.conf:",
    `[[outputs.influxdb]]
  urls = ["${base}"]
  database = "telegraf"
  skip_database_creation = true`],
  ["CSV", "A file of old readings, so that there is a model in minutes (time,name,... or series_id,timestamp,value):",
    `curl ${base}/api/v1/import -H 'Content-Type: text/csv' \\
     --data-binary @readings.csv`],
];

export class Welcome {
  constructor() {
    this.built = false;
  }

  show() {
    $("welcome").hidden = false;
    if (this.built) return;
    this.built = true;
    $("ways").replaceChildren(...WAYS.map(([name], i) => {
      const tab = make("button", { type: "button", role: "tab", id: `way-${i}`, "aria-controls": "way" }, name);
      tab.addEventListener("click", () => this.choose(i));
      return tab;
    }));
    $("ways").addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      this.choose((this.chosen + by + WAYS.length) % WAYS.length);
      $("ways").children[this.chosen].focus();
      event.preventDefault();
    });
    this.choose(0);
  }

  choose(index) {
    this.chosen = index;
    [...$("ways").children].forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
    });
    const [, words, code] = WAYS[index];
    $("way").setAttribute("aria-labelledby", `way-${index}`);
    $("way").replaceChildren(make("p", {}, words), make("div", { className: "code" },
      make("pre", {}, make("code", {}, code)), copyButton(() => code)));
  }

  // The first reading is there: says so for a moment; resolves when it has been read.
  async arrived(one) {
    if ($("welcome").hidden) return;
    $("arrival").classList.add("there");
    text("arrival-text", `${one.series} has arrived`);
    await new Promise((resolve) => { setTimeout(resolve, 1200); });
    $("welcome").hidden = true;
  }
}
