// The list of series: search, only the rows in sight as elements, and keys.
// SPDX-License-Identifier: Apache-2.0
//
// Of ten thousand series the document holds some thirty rows. The active row (where the arrow keys are) and the chosen
// one (which is shown) are two things, as in a listbox; focus stays in the search field or on the list.

import { $, make, text } from "./dom.js";
import { count, number, parts } from "./format.js";
import { Rows } from "./rows.js";
import { stateWords } from "./words.js";

const ROW_HEIGHT = 46;
const SPARE = 6;
const TYPING_MS = 90;

export class List {
  // choose(series) is called with the text of a series that somebody chose.
  constructor(choose) {
    this.onChoose = choose;
    this.source = new Rows();
    this.chosen = null;
    this.active = -1;
    this.elements = new Map();
    this.listen();
  }

  listen() {
    let timer = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.search($("search").value.trim()), TYPING_MS);
    });
    $("search").addEventListener("keydown", (event) => this.key(event));
    $("list").addEventListener("keydown", (event) => this.key(event));
    $("list").addEventListener("scroll", () => this.draw(), { passive: true });
    $("rows").addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.choose(Number(row.dataset.index));
    });
    new ResizeObserver(() => this.draw()).observe($("list"));
  }

  async search(words) {
    try {
      await this.source.find(words);
    } catch (error) {
      if (error.name === "AbortError") return;
      throw error;
    }
    this.active = words ? 0 : this.source.indexOf(this.chosen);
    $("list").scrollTop = 0;
    this.draw();
  }

  // New values of what is in sight; the whole list where it changed.
  async refresh() {
    const { first, last } = this.sight();
    if (!(await this.source.refresh(first, last))) {
      const { scrollTop } = $("list");
      await this.source.find(this.source.search);
      await this.source.reach(last);
      $("list").scrollTop = scrollTop;
    }
    this.draw();
  }

  select(series) {
    this.chosen = series;
    const index = this.source.indexOf(series);
    if (index >= 0) this.active = index;
    this.draw();
  }

  choose(index) {
    const one = this.source.rows[index];
    if (!one) return;
    this.active = index;
    this.onChoose(one.series);
  }

  // ---------------------------------------------------------------- keys

  key(event) {
    const page = Math.max(1, Math.floor($("list").clientHeight / ROW_HEIGHT) - 1);
    const inList = event.currentTarget === $("list");
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page,
      ...(inList ? { Home: -Infinity, End: Infinity } : {}) };
    if (event.key in moves) {
      this.move(moves[event.key]);
    } else if (event.key === "Enter" || (inList && event.key === " ")) {
      this.choose(Math.max(0, this.active));
    } else if (event.key === "Escape") {
      if ($("search").value) {
        $("search").value = "";
        this.search("");
      } else {
        document.activeElement.blur();
      }
    } else {
      return;
    }
    event.preventDefault();
  }

  async move(by) {
    const { total } = this.source;
    if (!total) return;
    this.active = Math.min(total - 1, Math.max(0, this.active + by));
    const list = $("list");
    const top = this.active * ROW_HEIGHT;
    const below = top + ROW_HEIGHT - list.clientHeight;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (below > list.scrollTop) list.scrollTop = below;
    this.draw();
  }

  // ---------------------------------------------------------------- drawing

  sight() {
    const { scrollTop, clientHeight } = $("list");
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - SPARE);
    return { first, last: Math.min(this.source.total, Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + SPARE) };
  }

  draw() {
    const { total, rows, search } = this.source;
    $("rows").style.height = `${total * ROW_HEIGHT}px`;
    text("found", search
      ? (total ? `${total.toLocaleString("en-US")} found` : "No series has all of these words.")
      : `${count(total)} series`);
    const { first, last } = this.sight();
    for (const [index, element] of this.elements) {
      if (index < first || index >= last) {
        element.remove();
        this.elements.delete(index);
      }
    }
    for (let index = first; index < last; index++) this.drawRow(index, rows[index], total);
    const activeElement = this.elements.get(this.active);
    for (const box of [$("search"), $("list")]) {
      if (activeElement) box.setAttribute("aria-activedescendant", activeElement.id);
      else box.removeAttribute("aria-activedescendant");
    }
    if (last > rows.length && this.source.next !== null) {
      this.source.reach(last).then(() => this.draw(), () => {});
    }
  }

  drawRow(index, one, total) {
    let row = this.elements.get(index);
    if (!row) {
      row = make("div", { role: "option", id: `row-${index}` },
        make("i", { className: "dot" }), make("span", { className: "series" }), make("span", { className: "value" }),
        make("span", { className: "of" }));
      row.dataset.index = String(index);
      row.style.transform = `translateY(${index * ROW_HEIGHT}px)`;
      this.elements.set(index, row);
      $("rows").append(row);
    }
    const [dot, name, value, of] = row.children;
    const named = one ? parts(one.series) : { name: "", labels: [] };
    row.setAttribute("aria-setsize", String(total));
    row.setAttribute("aria-posinset", String(index + 1));
    row.setAttribute("aria-selected", String(Boolean(one) && one.series === this.chosen));
    row.classList.toggle("active", index === this.active);
    row.classList.toggle("coming", !one);
    row.title = one ? `${one.series}, ${stateWords(one.state)}` : "";
    dot.className = `dot ${one?.state ?? ""}`;
    text(name, named.name);
    text(value, number(one?.last_value));
    text(of, named.labels.map(([key, words]) => `${key} ${words}`).join(", "));
  }
}
