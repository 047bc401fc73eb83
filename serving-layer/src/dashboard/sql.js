// A statement, its result as a table, and a chart where the result begins with a time or a name and has numbers.

import * as api from "./api.js";
import { colour, draw } from "./chart.js";
import { cell, element, find, number, offsets } from "./dom.js";

const form = find("statement");
const MOST_BARS = 60;
let asking = new AbortController();
let plot;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.elements.sql.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  run();
});

export async function enter(query) {
  if (query.has("sql")) form.elements.sql.value = query.get("sql");
  if (form.elements.sql.value) return;
  const [view] = await api.views().catch(() => []);
  if (view && !form.elements.sql.value) form.elements.sql.value = `SELECT *\nFROM ${view.name}\nLIMIT 100`;
}

export function leave() {
  asking.abort();
}

// A result stands still by itself.
export function pause() {}

async function run() {
  leave();
  asking = new AbortController();
  const { signal } = asking;
  const statement = form.elements.sql.value;
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await api.sql(statement, signal);
    history.replaceState(null, "", `#/sql?${new URLSearchParams({ sql: statement })}`);
    tell(statement, null);
    render(answer);
  } catch (error) {
    if (error.name !== "AbortError") tell(statement, error);
  } finally {
    if (asking.signal === signal) button.disabled = false;
  }
}

// What is wrong, and the line with a mark below the place.
function tell(statement, error) {
  const problem = find("sql-problem");
  problem.hidden = !error;
  if (!error) return;
  const { line, column } = error.position ?? {};
  const text = line ? statement.split("\n")[line - 1] : undefined;
  const place = text == null ? [] : [element("pre", {}, `${text}\n${" ".repeat(column - 1)}^`)];
  problem.replaceChildren(line ? `Line ${line}, column ${column}: ${error.message}` : error.message, ...place);
}

function render({ meta, data, truncated, answer, statistics }) {
  find("sql-coverage").replaceChildren(...coverage(data.length, truncated, answer, statistics));
  const head = ({ name, exact }) => element("th", { scope: "col" }, name, exact === false ? element("span", { class: "mark estimate" }, " ≈ estimate") : null);
  find("sql-rows").tHead.replaceChildren(element("tr", {}, ...meta.map(head)));
  const shown = (value) => (value && typeof value === "object" && !isTopK(value) ? JSON.stringify(value) : cell(value));
  const row = (values) => element("tr", {}, ...meta.map(({ name }) => element("td", { class: typeof values[name] === "number" ? "number" : null }, shown(values[name]))));
  find("sql-rows").tBodies[0].replaceChildren(...data.map(row));
  chart(meta, data);
}

const isTopK = (value) => Array.isArray(value) && value.every((item) => item && typeof item === "object" && "count" in item);

function coverage(rows, truncated, answer, { elapsed_ms }) {
  const fact = (name, value) => element("span", {}, `${name} `, element("strong", {}, value));
  const facts = [fact("rows", number(rows) + (truncated ? ", and more" : "")), fact("took", `${number(elapsed_ms)} ms`)];
  for (const block of answer.streams ?? [answer]) {
    facts.push(fact(`${block.stream}: version`, String(block.version ?? "none yet")));
    facts.push(fact("watershed", offsets(block.watershed)), fact("live to", offsets(block.live)));
    if (!block.complete) facts.push(element("span", { class: "bad" }, `not complete: ${block.incomplete_because ?? ""}`));
  }
  for (const { table, estimated } of answer.tables) {
    if (estimated) facts.push(element("span", { class: "mark estimate" }, `${table}: ${estimated.join(", ")} with estimates`));
  }
  return facts;
}

function chart(meta, data) {
  const into = find("sql-chart");
  plot?.destroy();
  plot = undefined;
  into.replaceChildren();
  into.className = "";
  const numbers = meta.filter(({ name }) => data.some((row) => typeof row[name] === "number") && data.every((row) => row[name] == null || typeof row[name] === "number"));
  const time = meta.find(({ type }) => type === "timestamp" || type === "date");
  const label = meta.find(({ type }) => type === "text");
  into.hidden = data.length < 2 || numbers.length === 0 || !(time || label);
  if (into.hidden) return;
  if (time) lines(into, time, label, numbers, data);
  else bars(into, label, numbers[0], data);
}

// A line per number, or per name for the first number where names tell rows of one time apart.
function lines(into, time, label, numbers, data) {
  const seconds = (row) => Date.parse(row[time.name]) / 1000;
  const times = [...new Set(data.map(seconds))].filter(Number.isFinite).sort((one, other) => one - other);
  const place = new Map(times.map((at, index) => [at, index]));
  const made = new Map();
  for (const row of data) {
    for (const { name } of label ? numbers.slice(0, 1) : numbers) {
      const key = label ? String(row[label.name]) : name;
      if (!made.has(key)) made.set(key, times.map(() => null));
      if (place.has(seconds(row))) made.get(key)[place.get(seconds(row))] = row[name];
    }
  }
  const lines = [...made].slice(0, 8).map(([name, values], index) => ({ label: name, values, colour: colour(index), live: false, filled: false }));
  plot = draw(undefined, into, { times, lines, liveFrom: null });
}

function bars(into, label, { name, exact }, data) {
  into.className = "bars";
  const most = Math.max(...data.map((row) => Math.abs(row[name] ?? 0))) || 1;
  for (const row of data.slice(0, MOST_BARS)) {
    const bar = element("span", { class: exact === false ? "bar estimate" : "bar" });
    bar.style.width = `${(100 * Math.abs(row[name] ?? 0)) / most}%`;
    into.append(element("span", {}, cell(row[label.name])), bar, element("span", {}, number(row[name])));
  }
}
