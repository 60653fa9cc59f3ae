#!/usr/bin/env bash
# Runs every fuzz target of every crate. Usage: docs/operations/fuzz.sh [RUNS-PER-TARGET]
# Needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz).
set -euo pipefail
cd "$(dirname "$0")/../.."
runs="${1:-1000000}"
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
for dir in */fuzz; do
  crate="$(dirname "$dir")"
  for target in $(cd "$crate" && cargo +nightly fuzz list); do
    echo "== $crate $target: $runs runs"
    (cd "$crate" && cargo +nightly fuzz run "$target" -- -runs="$runs" -max_len=8192 -print_final_stats=0)
  done
done
