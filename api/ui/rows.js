// The series that a search finds, fetched page by page as far as somebody looks.
// SPDX-License-Identifier: Apache-2.0
//
// The daemon searches; the cursor of its pages is the id of the series before, so any stretch that was fetched once
// can be fetched again by itself, to have its newest values.

import { get } from "./ask.js";

const FIRST_PAGE = 50;
const PAGE_MAX = 1000;

export class Rows {
  constructor() {
    this.search = "";
    this.clear();
  }

  clear() {
    this.rows = [];
    this.total = 0;
    this.next = null;
    this.loading = null;
  }

  ask(parameters, signal) {
    return get("api/v1/series", this.search ? { ...parameters, search: this.search } : parameters, signal);
  }

  // A new search; an earlier one that is still under way is dropped.
  async find(search) {
    this.stop?.abort();
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.search = search;
    const answer = await this.ask({ limit: FIRST_PAGE }, signal);
    this.clear();
    this.take(answer);
    this.total = answer.total ?? this.rows.length;
  }

  take(answer) {
    this.rows.push(...answer.series);
    this.next = answer.next;
    if (this.next === null) this.total = this.rows.length;
    else this.total = Math.max(this.total, this.rows.length + 1);
  }

  // Fetches until row `index` is there; the last of several calls counts.
  async reach(index) {
    this.wanted = index;
    this.loading ??= (async () => {
      const { search } = this;
      try {
        while (this.rows.length <= this.wanted && this.next !== null && search === this.search) {
          const limit = Math.min(PAGE_MAX, Math.max(FIRST_PAGE, this.wanted + FIRST_PAGE - this.rows.length));
          const answer = await this.ask({ limit, cursor: this.next }, this.stop.signal);
          if (search === this.search) this.take(answer);
        }
      } finally {
        this.loading = null;
      }
    })();
    return this.loading;
  }

  // Newest values of the rows from `first` to before `last`. False where they are no longer the same series.
  async refresh(first, last) {
    const { search } = this;
    last = Math.min(last, this.rows.length);
    const count = Math.max(1, last - first);
    const cursor = first > 0 && this.rows.length > first ? this.rows[first - 1].id : 0;
    const answer = await this.ask({ limit: count, cursor }, this.stop.signal);
    if (search !== this.search) return true;
    if (answer.total !== null) {
      const grown = this.rows.length === 0 || (this.next === null && answer.total > this.rows.length);
      if (grown || answer.total < this.rows.length) return false;
      this.total = answer.total;
    } else if (this.next === null && last === this.rows.length && answer.next !== null) {
      return false;
    }
    if (answer.series.some((one, i) => one.id !== this.rows[first + i]?.id)) return false;
    answer.series.forEach((one, i) => { this.rows[first + i] = one; });
    return true;
  }

  indexOf(series) {
    return this.rows.findIndex((one) => one.series === series);
  }
}
