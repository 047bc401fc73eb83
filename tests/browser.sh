#!/usr/bin/env bash
# Opens the dashboard of a running demo in headless Chromium, uses it as a person would, and stops both; then that of a
# server which wants to know who asks.
#
#   tests/browser.sh                    # pictures go into a temporary folder that is removed
#   tests/browser.sh --pictures DIR     # …or stay in DIR
#
# Chromium and its driver are Debian's; Selenium and axe-core come from PyPI and npm once, into the user's cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/watershed"
say() { echo "browser.sh: $*" >&2; }

need() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  command -v chromedriver >/dev/null || missing+=(chromium-driver)
  command -v python3 >/dev/null || missing+=(python3 python3-venv)
  command -v npm >/dev/null || missing+=(npm)
  [ "${#missing[@]}" -eq 0 ] && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    say "installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  else
    say "missing ${missing[*]}: install them and run this again"
    exit 69
  fi
}

work="$(mktemp -d)"
pictures="$work"
[ "${1:-}" = "--pictures" ] && pictures="$(mkdir -p "$2" && cd "$2" && pwd)"
demo=""
finish() {
  [ -n "$demo" ] && kill -INT "$demo" 2>/dev/null && wait "$demo" 2>/dev/null
  demo=""
}
leave() {
  finish
  rm -rf "$work"
}
trap leave EXIT

need
[ -x "$cache/browser/bin/python" ] || python3 -m venv "$cache/browser"
"$cache/browser/bin/python" -c 'import selenium' 2>/dev/null || "$cache/browser/bin/pip" install --quiet 'selenium>=4'
if [ ! -f "$cache/axe.min.js" ]; then
  (cd "$work" && npm pack --silent axe-core@4 >/dev/null && tar xzf axe-core-*.tgz package/axe.min.js)
  mv "$work/package/axe.min.js" "$cache/axe.min.js"
fi

cargo build --release --bin watershed
target="${CARGO_TARGET_DIR:-target}"
watershed="$target/release/watershed"
export WATERSHED__SERVE__LISTEN=127.0.0.1:0 WATERSHED__BROKER__LISTEN=127.0.0.1:0

# Starts a service and waits for its address.
start() {
  "$watershed" "$@" >"$work/demo.log" 2>&1 &
  demo=$!
  address=""
  for _ in $(seq 150); do
    address="$(sed -n 's/^ready: *//p' "$work/demo.log")"
    [ -n "$address" ] && break
    kill -0 "$demo" 2>/dev/null || { cat "$work/demo.log" >&2; say "it ended: $*"; exit 1; }
    sleep 0.2
  done
  [ -n "$address" ] || { cat "$work/demo.log" >&2; say "it was never ready: $*"; exit 1; }
  say "it is at $address: $*"
}

start demo --day 1s --every 3s
timeout 180 "$cache/browser/bin/python" tests/browser/dashboard.py "$address" "$pictures" "$cache/axe.min.js"
finish

project="$work/guarded"
"$watershed" init "$project" >&2
printf '\n[security]\nkeys = "keys.json"\n' >"$project/watershed.toml"
key="$("$watershed" --project "$project" key create browser --verbs query,status)"
sender="$("$watershed" --project "$project" key create sender --verbs ingest)"
start --project "$project" up
printf '{"at": "2026-01-31T08:30:00Z", "kind": "sale"}\n' |
  curl --silent --fail --show-error -H "Authorization: Bearer $sender" --data-binary @- "$address/v1/streams/events/events" >&2
timeout 120 "$cache/browser/bin/python" tests/browser/key.py "$address" "$key" "$cache/axe.min.js"
