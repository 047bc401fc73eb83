// A question about one view, its answer as a chart and as a table.
//
// Without a split the same question is asked twice, of everything and of what lies below the watershed, so that the two can
// be told apart; both answers must come from one version.

import * as api from "./api.js";
import { colour, draw } from "./chart.js";
import { cell, duration, element, fill, find, number, offsets, show } from "./dom.js";

const EVERY_MS = 1000;
const SPOKEN_EVERY_MS = 15000;
const LINES = 6;
const ROWS = 200;
const GRAINS = [["", "as stored"], ["1 hour"], ["6 hours"], ["1 day"], ["7 days"], ["1 month"]];
const NUMERIC = /^(bigint|integer|double|decimal)/;

const form = find("question").elements;
let views = [];
let plot;
let timer;
let asking = new AbortController();
let spokenAt = 0;

const view = () => views.find((candidate) => candidate.name === form.view.value);

export async function enter(parameters) {
  try {
    views = await api.views();
  } catch (error) {
    show(find("problem"), error);
    timer = setTimeout(() => enter(parameters), EVERY_MS);
    return;
  }
  if (views.length === 0) {
    show(find("problem"), new Error("This project has no view yet: write one into jobs/*.sql."));
    return;
  }
  fill(form.view, views.map(({ name }) => [name]), parameters.get("view"));
  choices(parameters);
  for (const name of ["value", "from", "to"]) form[name].value = parameters.get(name) ?? "";
  ask();
}

export function leave() {
  clearTimeout(timer);
  asking.abort();
}

export function pause(hidden) {
  if (hidden) leave();
  else ask();
}

// What the chosen view offers.
function choices(parameters) {
  const { measures, dimensions } = view();
  const numeric = measures.filter(({ type }) => NUMERIC.test(type));
  const others = measures.filter(({ type }) => !NUMERIC.test(type));
  fill(form.measure, [...numeric, ...others].map(({ name }) => [name]), parameters.get("measure"));
  const names = dimensions.map(({ name }) => [name]);
  fill(form.split, [["", "nothing"], ...names], parameters.get("split"));
  fill(form.dimension, [["", "anything"], ...names], parameters.get("dimension"));
  fill(form.grain, GRAINS, parameters.get("grain"));
}

find("question").addEventListener("submit", (event) => event.preventDefault());
find("question").addEventListener("change", (event) => {
  if (event.target === form.view) choices(new URLSearchParams());
  remember();
  ask();
});

// The address holds the question, so that it can be sent to somebody.
function remember() {
  const kept = new URLSearchParams();
  for (const name of ["view", "measure", "split", "grain", "dimension", "value", "from", "to"]) {
    if (form[name].value) kept.set(name, form[name].value);
  }
  history.replaceState(null, "", `#/explore?${kept}`);
}

function question() {
  const asked = {
    view: form.view.value,
    measures: [form.measure.value],
    group_by: form.split.value ? [form.split.value] : [],
    include: ["provenance"],
  };
  if (form.grain.value) asked.grain = form.grain.value;
  for (const bound of ["from", "to"]) if (form[bound].value.trim()) asked[bound] = form[bound].value.trim();
  const values = form.value.value.split(",").map((value) => value.trim()).filter(Boolean);
  if (form.dimension.value && values.length) {
    const type = view().dimensions.find(({ name }) => name === form.dimension.value).type;
    const typed = (value) => (NUMERIC.test(type) && !type.startsWith("decimal") ? Number(value) : type === "boolean" ? value === "true" : value);
    asked.where = { [form.dimension.value]: values.map(typed) };
  }
  return asked;
}

async function ask() {
  leave();
  asking = new AbortController();
  const { signal } = asking;
  const asked = question();
  try {
    const [live, batch] = await both(asked, signal);
    show(find("problem"), null);
    render(asked, live, batch);
  } catch (error) {
    if (error.name === "AbortError") return;
    show(find("problem"), error);
  }
  if (form.follow.checked && !document.hidden && !signal.aborted) timer = setTimeout(ask, EVERY_MS);
}

async function both(asked, signal) {
  for (let tries = 0; ; tries += 1) {
    const [live, batch] = await Promise.all([
      api.ask(asked, signal),
      asked.group_by.length ? null : api.ask({ ...asked, accuracy: "batch" }, signal).catch(() => null),
    ]);
    // A version may have been published between the two.
    if (!batch || batch.answer.version === live.answer.version || tries === 3) {
      return [live, batch?.answer.version === live.answer.version ? batch : null];
    }
  }
}

function render(asked, live, batch) {
  const window = view().window.name;
  const measure = asked.measures[0];
  const split = asked.group_by[0];
  const meta = live.meta.find(({ name }) => name === measure);
  coverage(live.answer);
  const charted = NUMERIC.test(meta.type);
  find("chart").hidden = !charted;
  find("legend").replaceChildren(
    ...(charted ? chart({ live, batch, window, measure, split, meta }) : ["This measure is no number: see the table."]),
  );
  table({ live, batch, window, measure, split, meta });
  speak(asked, live, meta);
}

const value = (row, measure) => (row[measure] == null ? null : Number(row[measure]));

function chart({ live, batch, window, measure, split, meta }) {
  const moments = [...new Set([...live.data, ...(batch?.data ?? [])].map((row) => row[window]))].sort();
  const at = new Map(moments.map((moment, index) => [moment, index]));
  const times = moments.map((moment) => Date.parse(moment) / 1000);
  const column = (rows, keep = () => true) => {
    const values = new Array(moments.length).fill(null);
    for (const row of rows) if (keep(row)) values[at.get(row[window])] = value(row, measure);
    return values;
  };
  const first = live.data.filter((row) => row._live).map((row) => Date.parse(row[window]) / 1000);
  const liveFrom = first.length ? Math.min(...first) : null;
  const bound = meta.exact === false && meta.error?.kind === "relative" ? meta.error.bound : null;
  const keys = [];
  const lines = [];
  if (split) {
    const groups = Map.groupBy(live.data, (row) => (row._overflow ? "beyond the budget" : row[split]));
    const weight = (rows) => rows.reduce((sum, row) => sum + Math.abs(value(row, measure) ?? 0), 0);
    const largest = [...groups].sort((one, other) => weight(other[1]) - weight(one[1])).slice(0, LINES);
    largest.forEach(([name, rows], index) => {
      lines.push({ label: String(name), values: column(rows), colour: colour(index) });
      keys.push(key(String(name), colour(index)));
    });
    if (groups.size > LINES) keys.push(element("span", {}, `the largest ${LINES} of ${groups.size}`));
  } else {
    if (batch) {
      lines.push({ label: "below the watershed", values: column(batch.data), colour: colour(0), filled: true });
      keys.push(key("below the watershed", colour(0)));
    }
    const values = column(live.data, (row) => !batch || row._live);
    const band = bound == null ? undefined : {
      low: values.map((value) => value == null ? null : value - Math.abs(value) * bound),
      high: values.map((value) => value == null ? null : value + Math.abs(value) * bound),
    };
    lines.push({ label: "with live records", values, colour: colour(1), live: true, band });
    keys.push(key("with live records", colour(1), "live"));
    if (band) keys.push(key(`within ± ${(bound * 100).toFixed(1)} %`, colour(1), "band"));
  }
  if (liveFrom != null) keys.push(key("live records from here on", colour(1), "zone"));
  plot = draw(plot, find("chart"), { times, lines, liveFrom });
  return keys;
}

function key(label, of, kind = "") {
  const made = element("span", { class: `key ${kind}` }, label);
  made.style.setProperty("--of", of);
  return made;
}

function coverage({ version, watershed, live, end, freshness_ms, complete, incomplete_because, gaps }) {
  const lag = Object.entries(end ?? {}).reduce((sum, [partition, offset]) => sum + Math.max(0, offset - (live[partition] ?? 0)), 0);
  const fact = (label, value, kind) => element("span", {}, `${label} `, element("strong", { class: kind }, value));
  find("coverage").replaceChildren(
    fact("version", version ?? "none yet"),
    fact("watershed", offsets(watershed)),
    fact("live to", offsets(live)),
    fact("behind by", number(lag)),
    fact("fresh within", duration(freshness_ms)),
    complete ? fact("", "complete", "good") : fact("incomplete:", incomplete_because ?? "records are missing", "bad"),
    ...gaps.map((gap) => fact("lost:", `partition ${gap.partition} [${gap.from}, ${gap.until})`, "bad")),
  );
}

function table({ live, batch, window, measure, split, meta }) {
  const settled = meta.exact || batch?.meta.find(({ name }) => name === measure)?.exact;
  const bound = meta.error && ` within ${meta.error.kind === "relative" ? `± ${(meta.error.bound * 100).toFixed(1)} %` : `${meta.error.bound} of all counts`}`;
  const heads = [window, split, measure, "how exact", "records"].filter(Boolean);
  const head = element("tr", {}, ...heads.map((name) => element("th", { scope: "col", class: name === measure ? "number" : null }, name)));
  const body = live.data.slice(-ROWS).reverse().map((row) => {
    const exact = meta.exact || (settled && !row._live);
    return element("tr", {},
      element("td", {}, row[window]),
      split ? element("td", {}, row._overflow ? "beyond the budget" : cell(row[split])) : null,
      element("td", { class: "number" }, cell(row[measure])),
      element("td", { class: exact ? "mark" : "mark estimate" }, exact ? "exact" : `≈ estimate${bound ?? ""}`),
      element("td", { class: "mark" }, row._live ? "with live records" : "below the watershed"));
  });
  find("rows").tHead.replaceChildren(head);
  find("rows").tBodies[0].replaceChildren(...body);
  find("rows-title").textContent = live.rows > ROWS ? `The newest ${ROWS} of ${number(live.rows)} rows` : `The same numbers, ${number(live.rows)} rows`;
}

// Often enough to follow, seldom enough to listen to.
function speak(asked, live, meta) {
  if (performance.now() - spokenAt < SPOKEN_EVERY_MS) return;
  spokenAt = performance.now();
  const last = live.data.at(-1);
  const how = meta.exact ? "exact" : "an estimate";
  find("spoken").textContent = last
    ? `${asked.view}: ${live.rows} rows; the last ${asked.measures[0]} is ${cell(last[asked.measures[0]])}, ${how}. ${live.answer.complete ? "Complete." : "Incomplete."}`
    : `${asked.view}: no rows.`;
}

addEventListener("resize", () => plot?.setSize({ width: find("chart").clientWidth, height: plot.height }));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  plot?.destroy();
  plot = undefined;
  if (!find("explore").hidden) ask();
});
