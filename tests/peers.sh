#!/usr/bin/env bash
# CPU per event of Watershed against Apache Flink and ClickHouse: `cargo bench -- peers` with both installed.
#
#   tests/peers.sh [--rounds N] [NAME…]         what else `cargo bench --` takes
#
# Flink (PyFlink) and ClickHouse (chdb) come from PyPI once, into the user's cache: some 1.5 GB. Flink needs Java 17.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/watershed/peers"
packages=(apache-flink==2.3.0 chdb==4.4.0)

if ! command -v java >/dev/null; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "peers.sh: Flink needs Java 17: install it and run this again" >&2
    exit 69
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless
fi
[ -x "$cache/bin/python" ] || python3 -m venv "$cache"
if [ "$(cat "$cache/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  "$cache/bin/pip" install --quiet --prefer-binary "${packages[@]}"
  echo "${packages[*]}" >"$cache/installed"
fi

export WATERSHED_BENCH_PEERS_PYTHON="$cache/bin/python"
exec cargo bench --bench watershed -- peers "$@"
