// How the streams are doing: versions, watershed and lag by partition, dead letters, gaps, accuracy.

import * as api from "./api.js";
import { duration, element, find, number, show } from "./dom.js";

const EVERY_MS = 2000;
let timer;
let asking = new AbortController();

export function enter() {
  refresh();
}

export function leave() {
  clearTimeout(timer);
  asking.abort();
}

export function pause(hidden) {
  if (hidden) leave();
  else refresh();
}

async function refresh() {
  leave();
  asking = new AbortController();
  const { signal } = asking;
  try {
    const streams = await api.status(signal);
    const versions = await Promise.all(streams.map(({ stream }) => api.versions(stream, signal)));
    show(find("streams-problem"), null);
    render(streams, versions);
  } catch (error) {
    if (error.name === "AbortError") return;
    show(find("streams-problem"), error);
  }
  if (!document.hidden && !signal.aborted) timer = setTimeout(refresh, EVERY_MS);
}

// Whoever reads by keyboard keeps their place: what is scrolled or focused is remembered by its label.
function render(streams, versions) {
  const list = find("stream-list");
  const scrolled = new Map([...list.querySelectorAll(".scroll")].map((part) => [part.getAttribute("aria-label"), part.scrollTop]));
  const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  list.replaceChildren(...streams.map((stream, index) => card(stream, versions[index])));
  for (const part of list.querySelectorAll(".scroll")) {
    const label = part.getAttribute("aria-label");
    part.scrollTop = scrolled.get(label) ?? 0;
    if (label === focused) part.focus({ preventScroll: true });
  }
}

function card(stream, versions) {
  const seconds = stream.time_to_loss.seconds;
  const dead = stream.dead_letters;
  const facts = [
    ["state", stream.state.replace("_", " ")],
    ["version", stream.version ?? "none yet"],
    ["fresh within", duration(stream.freshness_ms)],
    ["behind by", `${number(Object.values(stream.lag).reduce((sum, lag) => sum + lag, 0))} offsets`],
    ["time to loss", seconds == null ? "none in sight" : duration(seconds * 1000)],
    ["dead letters", `${number(dead.batch.count)} stored, ${number(dead.live.count)} live`],
    ["speed nodes", stream.nodes.map(({ node }) => node).join(", ") || "none"],
    ["running", stream.running ? `version ${stream.running.version} by ${stream.running.holder}` : "no batch run"],
  ];
  return element("article", { class: "stream", "aria-label": `Stream ${stream.stream}` },
    element("h3", {}, stream.stream),
    element("dl", { class: "facts" }, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value))))),
    ...stream.trouble.map((trouble) => element("p", { class: "problem" }, trouble)),
    ...stream.gaps.map((gap) => element("p", { class: "problem" }, `lost: partition ${gap.partition} [${gap.from}, ${gap.until})`)),
    reasons(stream),
    partitions(stream),
    history(stream, versions));
}

function reasons({ stream, dead_letters: { batch, live } }) {
  const names = [...new Set([...Object.keys(batch.reasons), ...Object.keys(live.reasons)])].sort();
  const rows = names.map((name) => [name, number(batch.reasons[name] ?? 0), number(live.reasons[name] ?? 0)]);
  return rows.length ? table(`Dead letters of ${stream}`, ["dead letters", "stored", "live"], rows) : null;
}

function partitions({ stream, watershed, live, end, lag, time_to_loss }) {
  const rows = Object.keys({ ...end, ...live, ...watershed }).sort((one, other) => one - other).map((partition) => [
    partition,
    number(watershed[partition] ?? 0),
    number(live[partition]),
    number(end[partition]),
    number(lag[partition] ?? 0),
    number(time_to_loss.partitions[partition]?.log_start_offset),
  ]);
  return table(`Partitions of ${stream}`, ["partition", "watershed", "live", "end", "behind", "log start"], rows);
}

// Each version with the largest measured error of its sketches against their bound.
function history({ stream }, versions) {
  const worst = ({ views }) => {
    const ledger = Object.values(views).flatMap(({ accuracy }) => accuracy).filter(({ kind, cells }) => kind === "relative" && cells > 0);
    if (ledger.length === 0) return "–";
    const line = ledger.reduce((one, other) => (other.max_error / other.bound > one.max_error / one.bound ? other : one));
    return `${line.measure} ${(line.max_error * 100).toFixed(2)} % (bound ${(line.bound * 100).toFixed(1)} %)`;
  };
  const rows = versions.map((version) => [
    String(version.version),
    version.created_at,
    number(version.rows_landed),
    number(version.windows_recomputed),
    `${version.seconds.toFixed(2)} s`,
    number(version.events),
    worst(version),
  ]);
  return table(`Versions of ${stream}`, ["version", "made", "landed", "windows", "took", "events in all", "largest measured error"], rows);
}

function table(label, heads, rows) {
  const numeric = (text) => (/^[\d,.–]+( s)?$/.test(text) ? "number" : null);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    element("table", {},
      element("thead", {}, element("tr", {}, ...heads.map((head, index) => element("th", { scope: "col", class: rows[0] && numeric(rows[0][index]) }, head)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((text) => element("td", { class: numeric(text) }, text)))))));
}
