// Small helpers: text never becomes markup.

export const find = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, label]) => element("option", { value }, label ?? value)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

export function show(problem, error) {
  problem.hidden = !error;
  problem.textContent = error ? error.message : "";
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export function number(value) {
  if (value == null) return "–";
  return Number.isInteger(value) ? whole.format(value) : short.format(value);
}

export function duration(milliseconds) {
  if (milliseconds == null) return "not known";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export const offsets = (vector) =>
  Object.entries(vector ?? {}).map(([partition, offset]) => `${partition}:${whole.format(offset)}`).join("  ") || "none";

// A cell as a person reads it; top-k lists as `value (count)`.
export function cell(value) {
  if (Array.isArray(value)) return value.map((item) => `${item.value ?? "null"} (${number(item.count)})`).join(", ");
  if (typeof value === "number") return number(value);
  return value == null ? "–" : String(value);
}
