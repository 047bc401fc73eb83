#!/usr/bin/env bash
# Runs one command beside an S3 of this machine (moto's server), then stops it.
#
#   tests/s3.sh -- cargo test --release store
#   tests/s3.sh            # no command: prints the endpoint and serves until Ctrl-C
#
# The command sees WATERSHED_TEST_S3=s3://bucket and AWS_* variables that lead there, and its exit code is this
# script's. moto comes from PyPI once and stays in the user's cache.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/watershed/moto"

say() { echo "s3.sh: $*" >&2; }

if [ ! -x "$cache/bin/moto_server" ]; then
  say "installing moto into $cache"
  python3 -m venv "$cache"
  "$cache/bin/pip" install --quiet 'moto[server,s3]'
fi

port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export WATERSHED_TEST_S3=s3://watershed-tests

log="$(mktemp "${TMPDIR:-/tmp}/watershed-s3.XXXXXX")"
"$cache/bin/moto_server" -H 127.0.0.1 -p "$port" >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for _ in $(seq 120); do
  if curl -sf -X PUT "$AWS_ENDPOINT_URL/watershed-tests" >/dev/null; then ready=1; break; fi
  kill -0 "$server" 2>/dev/null || break
  sleep 0.5
done
if [ -z "${ready:-}" ]; then
  say "moto was not ready:"
  tail -n 20 "$log" >&2
  exit 70
fi

[ "${1:-}" = "--" ] && shift
if [ "$#" -eq 0 ]; then
  echo "$AWS_ENDPOINT_URL"
  wait "$server"
else
  "$@"
fi
