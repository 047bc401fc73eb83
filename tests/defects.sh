#!/usr/bin/env bash
# Shows that the simulation finds bugs: puts the small defects of tests/simulation/defects.patch into a copy of the
# sources, each behind a switch, builds the test binary once, and prints at which seed each defect is caught.
#
#   tests/defects.sh [NAME…]                    all defects, or those named
#   WATERSHED_HISTORIES=N tests/defects.sh      gives up on a defect after N histories (2000 by default)
#
# Exits with 1 if a defect was not caught, or if the histories fail without one.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} WATERSHED_HISTORIES=${WATERSHED_HISTORIES:-2000}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar --exclude=./target --exclude=./.git --exclude=./data -cf - . | tar -xf - -C "$copy"
cd "$copy"
patch -p1 --quiet <tests/simulation/defects.patch
cargo test --release --test watershed --no-run
[ $# -gt 0 ] || set -- none $(grep -oE '^\+.*defect::is\("[a-z_]+' tests/simulation/defects.patch | sed 's/.*"//' | sort -u)
unexpected=0
for name; do
  WATERSHED_DEFECT=$name cargo test --release --test watershed --quiet -- simulation::every --nocapture >log 2>&1 || true
  caught=$(sed -n 's/^history \([0-9]*\) fails.*/\1/p' log | sort -n | head -1)
  echo "$name: ${caught:+caught at seed }${caught:-not caught in $WATERSHED_HISTORIES histories}"
  if [ "$name" = none ]; then [ -z "$caught" ] || unexpected=1; else [ -n "$caught" ] || unexpected=1; fi
done
exit $unexpected
