// The HTTP API as this page uses it. A problem (RFC 9457) becomes an Error that says what is wrong and where.
//
// A server that wants to know who asks answers 401: then the page asks for a key, once for all that wait for it. The key
// stays in this tab, and goes with it.

import { find } from "./dom.js";

const KEPT = "watershed-key";
let asking;

const authorized = (options) => {
  const key = sessionStorage.getItem(KEPT);
  return key ? { ...options, headers: { ...options.headers, authorization: `Bearer ${key}` } } : options;
};

async function send(path, options) {
  for (;;) {
    const key = sessionStorage.getItem(KEPT);
    const response = await fetch(path, authorized(options));
    if (response.status !== 401) return response;
    // Another request may have brought a key meanwhile.
    if (sessionStorage.getItem(KEPT) === key) await ask_for_key(key !== null, options.signal);
  }
}

function ask_for_key(refused, signal) {
  asking ??= new Promise((resolve) => {
    const box = find("key-box");
    const form = find("key-form");
    find("key-problem").hidden = !refused;
    box.showModal();
    form.onsubmit = (event) => {
      event.preventDefault();
      box.close();
      sessionStorage.setItem(KEPT, form.elements.key.value.trim());
      form.reset();
      asking = undefined;
      resolve();
    };
    // Without a key there is nothing to show: whoever closes the box is asked again.
    box.oncancel = (event) => event.preventDefault();
  });
  return new Promise((resolve, reject) => {
    asking.then(resolve);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

async function read(response) {
  if (response.ok) return response.json();
  const text = await response.text();
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    throw new Error(`${response.status}: ${text.slice(0, 200)}`);
  }
  const meant = problem.did_you_mean ? ` Did you mean ${problem.did_you_mean}?` : "";
  throw Object.assign(new Error(`${problem.detail ?? problem.title}${meant}`), { position: problem.position });
}

const get = async (path, signal) => read(await send(path, { signal }));

export const views = async (signal) => (await get("/v1/views", signal)).views;
export const status = async (signal) => (await get("/v1/status", signal)).streams;
export const versions = async (stream, signal) =>
  (await get(`/v1/streams/${encodeURIComponent(stream)}/versions`, signal)).versions;

const post = async (path, question, signal) =>
  read(await send(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question),
    signal,
  }));

export const ask = (question, signal) => post("/v1/query", question, signal);
export const sql = (statement, signal) => post("/v1/sql", { sql: statement, limit: 1000 }, signal);
