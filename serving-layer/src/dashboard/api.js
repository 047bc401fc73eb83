// The HTTP API as this page uses it. A problem (RFC 9457) becomes an Error that says what is wrong and where.

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

const get = async (path, signal) => read(await fetch(path, { signal }));

export const views = async (signal) => (await get("/v1/views", signal)).views;
export const status = async (signal) => (await get("/v1/status", signal)).streams;
export const versions = async (stream, signal) =>
  (await get(`/v1/streams/${encodeURIComponent(stream)}/versions`, signal)).versions;

const post = async (path, question, signal) =>
  read(await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question),
    signal,
  }));

export const ask = (question, signal) => post("/v1/query", question, signal);
export const sql = (statement, signal) => post("/v1/sql", { sql: statement, limit: 1000 }, signal);
