"use strict";
// Makes tables sortable by their headers. Without it the page is whole, and keeps its own order.

const SCALES = new Map([
  ["k", 1e3], ["M", 1e6], ["G", 1e9],
  ["KiB", 2 ** 10], ["MiB", 2 ** 20], ["GiB", 2 ** 30],
  ["ms", 1e-3], ["min", 60], ["h", 3600],
]);
// A cell begins with its value: 0.512 (0.480 to 0.544), 1.16x, +1.2%, 4.5 MiB, under 0.001.
const NUMBER = /^(under |over )?([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?) ?([A-Za-z]*)/;
// What follows it in 2 min 03 s and in 1 h 05 min.
const SMALLER = /^ (\d+) (min|s)\b/;
const ORDERS = ["ascending", "descending"];
const collator = new Intl.Collator("en", { numeric: true });

function readNumber(text) {
  const match = NUMBER.exec(text);
  if (match === null) return null;
  const [whole, bound, digits, unit] = match;
  // "under 1%" stands below 1% and above 0%; "over 99%" between 99% and 100%.
  const nudge = { "under ": 1 - 1e-9, "over ": 1 + 1e-9 }[bound] ?? 1;
  const value = Number(digits.replaceAll(",", "")) * (SCALES.get(unit) ?? 1) * nudge;
  const rest = SMALLER.exec(text.slice(whole.length));
  return rest === null ? value : value + Number(rest[1]) * (SCALES.get(rest[2]) ?? 1);
}

// Numbers come first, then words, then what is unknown: in both directions.
function readKey(cell) {
  const text = cell.textContent.trim();
  const number = cell.tagName === "TH" ? null : readNumber(text);
  if (number !== null) return { rank: 0, value: number };
  return { rank: text === "" || text.startsWith("\u2013") ? 2 : 1, value: text };
}

function compareKeys(one, two, sign) {
  if (one.rank !== two.rank) return one.rank - two.rank;
  if (one.rank === 2) return 0;
  return sign * (one.rank === 0 ? one.value - two.value : collator.compare(one.value, two.value));
}

function sortRows(rows, column, order) {
  if (order === undefined) return rows;
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => ({ row, key: readKey(row.cells[column]) }));
  keyed.sort((one, two) => compareKeys(one.key, two.key, sign));
  return keyed.map(({ row }) => row);
}

// A header's first click sorts up, the second down, the third gives back the page's own order.
function makeSortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const order = ORDERS[ORDERS.indexOf(header.getAttribute("aria-sort")) + 1];
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      if (order !== undefined) header.setAttribute("aria-sort", order);
      body.append(...sortRows(rows, column, order));
    });
  });
}

for (const table of document.querySelectorAll("table:not(.facts table)")) {
  if (table.tBodies[0].rows.length > 1) makeSortable(table);
}
