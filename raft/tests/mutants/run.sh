#!/bin/bash
# Breaks one rule of replication after the other in a copy of the crates, and lets the simulation look for it:
# `run.sh` for all, `run.sh purge lease` for some. Says at which seed each is found first, and fails if one is not.
set -euo pipefail
cd "$(dirname "$0")/../../.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target/mutants/target}"
rules=("${@:-}")
[ -n "${rules[0]}" ] || rules=(sync purge membership publish lease id)
copy=target/mutants/copy
rm -rf "$copy" && mkdir -p "$copy"
git ls-files -z Cargo.toml Cargo.lock rust-toolchain.toml lsm raft docs | xargs -0 cp --parents -t "$copy"
cd "$copy"
sed -i 's|^members = .*|members = ["lsm", "raft", "raft/histogram"]|' Cargo.toml
patch --quiet --strip 1 <raft/tests/mutants/broken.patch
built=$(cargo test --package raft --test it --no-run --message-format json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
missed=0
for rule in "${rules[@]}"; do
  log="$CARGO_TARGET_DIR/mutant-$rule.log"
  BROKEN=$rule "$built" --nocapture lives::through >"$log" 2>&1 || true
  seed=$(sed -n 's/^seed \([0-9]*\) failed.*/\1/p' "$log" | sort -n | head -1)
  found=$(grep -c '^seed [0-9]* failed' "$log" || true)
  if [ -n "$seed" ]; then echo "$rule: seed $seed first, $found in all"; else echo "$rule: NOT FOUND, see $log"; missed=1; fi
done
exit $missed
