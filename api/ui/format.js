// Numbers, units, times and names as a person reads them.
// SPDX-License-Identifier: Apache-2.0

// Below what any unit brings: the band of a series that is always zero.
export const NOTHING = 1e-15;

// Decimals follow the size of the number: 14,311 and 21.46 and 0.0312.
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (size < NOTHING) return "0";
  if (size < 0.001 || size >= 1e12) return value.toExponential(2);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 4;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

// 82412 -> "82 thousand", 3100000 -> "3.1 million"
export function count(value) {
  if (!Number.isFinite(value)) return "";
  if (value < 10000) return value.toLocaleString("en-US");
  if (value < 1e6) return `${Math.round(value / 1e3)} thousand`;
  if (value < 1e9) return `${(value / 1e6).toFixed(1)} million`;
  return `${(value / 1e9).toFixed(1)} billion`;
}

export function bytes(value) {
  if (!Number.isFinite(value)) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (Math.abs(value) >= 1000 && i < units.length - 1) { value /= 1000; i++; }
  return `${value.toLocaleString("en-US", { maximumFractionDigits: i && Math.abs(value) < 100 ? 1 : 0 })} ${units[i]}`;
}

export const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)} %`;

// ---------------------------------------------------------------- units

const SUFFIXES = [
  [/(^|[._])(percent|pct)$/, "%"], [/(^|[._])celsius$/, "°C"],
  [/(^|[._])kbps$/, "kbit/s"], [/(^|[._])mbps$/, "Mbit/s"],
  [/(^|[._])mb$/, "MB"], [/(^|[._])kb$/, "kB"], [/(^|[._])seconds$/, "s"], [/(^|[._])(ms|milliseconds)$/, "ms"],
  [/(^|[._])watts?$/, "W"], [/(^|[._])volts?$/, "V"], [/(^|[._])amperes?$/, "A"], [/(^|[._])hertz$/, "Hz"],
  [/(^|[._])joules$/, "J"], [/(^|[._])(bytes)$/, "B"],
];

// The unit of a series: of its label `unit`, else as its name says it by the conventions of Prometheus; "" unknown.
// What a counter has is shown as its rise per second.
export function unitOf(series, counter = false) {
  const { name, labels } = parts(series);
  const label = labels.find(([key]) => key === "unit")?.[1];
  const bare = name.toLowerCase().replace(/_total$/, "");
  const unit = label ?? SUFFIXES.find(([pattern]) => pattern.test(bare))?.[1] ?? "";
  return counter ? `${unit}/s` : unit;
}

// With its unit; bytes in the thousands that fit.
export function quantity(value, unit) {
  const words = number(value);
  if (!unit || words === "") return words;
  if (unit === "B" || unit === "B/s") return bytes(value) + unit.slice(1);
  return `${words}\u00a0${unit}`;
}

// ---------------------------------------------------------------- times

const UNITS = [[604800000, "w"], [86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]];

// A length of time in its largest fitting unit: "12 min", "3.5 h".
export function span(ms) {
  for (const [size, unit] of UNITS) {
    if (ms >= size && unit !== "w") {
      const amount = ms / size;
      return `${unit !== "s" && amount < 10 && amount % 1 >= 0.05 ? amount.toFixed(1) : Math.round(amount)} ${unit}`;
    }
  }
  return ms > 0 ? "under 1 s" : "0 s";
}

// The same as the API takes it, exact: "7d", "90s".
export function duration(ms) {
  for (const [size, unit] of UNITS) {
    if (ms % size === 0) return `${ms / size}${unit === "min" ? "m" : unit}`;
  }
  return `${ms}ms`;
}

export const ago = (ms) => (ms < 1500 ? "just now" : `${span(ms)} ago`);

// A moment in the user's zone, short where it is today: "16:00", "Tue 04:00", "3 Aug 2018".
export function moment(ms, stepMs) {
  const date = new Date(ms);
  const near = Math.abs(ms - Date.now());
  const clock = date.toLocaleTimeString("en-GB", {
    hour: "2-digit", minute: "2-digit", ...(stepMs < 60000 ? { second: "2-digit" } : {}),
  });
  if (date.toDateString() === new Date().toDateString()) return clock;
  if (stepMs >= 86400000 || near > 180 * 86400000) {
    return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
  }
  if (near < 6 * 86400000) {
    return `${date.toLocaleDateString("en-GB", { weekday: "short" })} ${clock}`;
  }
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock}`;
}

// The same moment in UTC, whole: "2026-11-22 13:40:00 UTC".
export const utc = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

// As <input type="datetime-local"> has it, in the user's zone.
export function localInput(ms) {
  const date = new Date(ms);
  return new Date(ms - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

// ---------------------------------------------------------------- names

const unescaped = (words) => words.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));

// 'name{a="x",b="y"}' -> { name, labels: [["a", "x"], ["b", "y"]] }; a name with signs of this form stands in quotes
// within the braces: '{"a = b",a="x"}'.
export function parts(series) {
  const brace = series.indexOf("{");
  if (brace < 0) return { name: series, labels: [] };
  const quoted = /^\{"((?:[^"\\]|\\.)*)",?/.exec(series);
  const labels = [];
  const pattern = /([^=,{}\s]+)="((?:[^"\\]|\\.)*)"/g;
  for (const [, key, value] of series.slice(quoted ? quoted[0].length : brace).matchAll(pattern)) {
    labels.push([key, unescaped(value)]);
  }
  return { name: quoted ? unescaped(quoted[1]) : series.slice(0, brace), labels };
}
