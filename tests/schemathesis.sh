#!/usr/bin/env bash
# Schemathesis against a server that runs the sample project: what it makes of /openapi.json is answered as described, and
# nothing it sends makes the server fail. Its report is the last thing printed.
#
# EXAMPLES (50) is how many requests it makes up per operation, SEED (1) what they follow from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/watershed"
schemathesis="${SCHEMATHESIS:-$cache/schemathesis/bin/schemathesis}"
if [ ! -x "$schemathesis" ]; then
    python3 -m venv "$cache/schemathesis"
    "$cache/schemathesis/bin/pip" install --quiet schemathesis
fi
if [ -z "${WATERSHED:-}" ]; then
    cargo build --release --bin watershed
    WATERSHED="${CARGO_TARGET_DIR:-target}/release/watershed"
fi

project="$(mktemp -d)"
mkdir "$project/schemas" "$project/jobs"
cp schemas/*.sql "$project/schemas"
cp jobs/*.sql "$project/jobs"
# Before the server is ready its log is the only thing to look at.
server() {
    WATERSHED__SERVE__LISTEN=127.0.0.1:0 WATERSHED__BROKER__LISTEN=127.0.0.1:0 WATERSHED__SPEED__LISTEN=127.0.0.1:0 \
        exec "$WATERSHED" --project "$project" up
}
server >"$project/out" 2>"$project/log" &
running=$!
trap 'kill "$running"; wait "$running" || true; rm -rf "$project"' EXIT
for _ in $(seq 200); do
    grep -q '^ready:' "$project/out" && break
    kill -0 "$running" || { cat "$project/log"; exit 1; }
    sleep 0.1
done
address="$(sed -n 's/^ready: //p' "$project/out")"
broker="$(sed -n 's/^broker: //p' "$project/out")"
export WATERSHED__KAFKA__BROKERS="$broker"
"$WATERSHED" --project "$project" produce flights jobs/sample/flights-2013-01.parquet
"$WATERSHED" --project "$project" batch run

# Names that there are, so that most requests get beyond "unknown".
cat >"$project/schemathesis.toml" <<'NAMES'
[parameters]
"path.view" = "flight_delays"
"path.stream" = "flights"
"path.a" = 1
"path.b" = 1
NAMES

# Changes are an endless answer, which the test suite follows.
status=0
"$schemathesis" --config-file "$project/schemathesis.toml" run "$address/openapi.json" \
    --exclude-path '/v1/views/{view}/live' \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,unsupported_method \
    --max-examples "${EXAMPLES:-50}" --seed "${SEED:-1}" --request-timeout 20 \
    --output-truncate false --suppress-health-check all --no-color || status=$?
kill -0 "$running" || { tail -50 "$project/log"; exit 1; }
exit "$status"
