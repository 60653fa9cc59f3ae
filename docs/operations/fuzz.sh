#!/usr/bin/env bash
# Builds every fuzz target of every crate and runs each for a number of inputs, or for a time.
#
#   docs/operations/fuzz.sh [RUNS-PER-TARGET | SECONDSs] [TARGET...]
#
#   docs/operations/fuzz.sh 1000000          a million inputs for each target
#   docs/operations/fuzz.sh 3600s manifest   one target for an hour
#
# Needs a nightly toolchain and cargo-fuzz (cargo install --locked cargo-fuzz).
#
# The sanitizer is off: our crates deny unsafe code, so AddressSanitizer would watch little but the
# libraries, and it makes builds and runs several times slower. Coverage instrumentation, debug
# assertions and overflow checks stay on: what we look for are panics, overflows, endless loops and
# memory taken on the word of a length field (-rss_limit_mb, -malloc_limit_mb, -timeout).
#
# Each target begins with the seeds in CRATE/fuzz/corpus/TARGET, which tests write from the real
# encoders (UPDATE=1 cargo test -p CRATE fuzz). What it finds goes to $FUZZ_DIR and stays out of
# the repository; a crash becomes a named test of its crate.
set -euo pipefail
cd "$(dirname "$0")/../.."
amount="${1:-1000000}"
case "$amount" in
  *[!0-9]*s | s | '') echo "not an amount: $amount; say 1000000 (inputs) or 3600s" >&2; exit 2 ;;
  *s) bound="-max_total_time=${amount%s}" ;;
  *[!0-9]*) echo "not an amount: $amount; say 1000000 (inputs) or 3600s" >&2; exit 2 ;;
  *) bound="-runs=$amount" ;;
esac
shift || true
wanted=" $* "
dir="${FUZZ_DIR:-$PWD/target/fuzz}"
# One build directory for all crates, so that what they share compiles once.
export CARGO_TARGET_DIR="${FUZZ_TARGET_DIR:-$PWD/target/fuzz-build}"
triple="$(rustc -vV | sed -n 's/^host: //p')"
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
mkdir -p "$dir/logs"

for crate in lsm raft chatdb gateway voice; do
  for file in "$crate"/fuzz/fuzz_targets/*.rs; do
    target="$(basename "$file" .rs)"
    [ "$wanted" = "  " ] || [[ "$wanted" = *" $target "* ]] || continue
    targets+=("$crate/$target")
    crates+=" $crate"
  done
done
for crate in $(tr ' ' '\n' <<<"$crates" | sort -u); do
  echo "== building the targets of $crate"
  (cd "$crate" && cargo +nightly fuzz build --sanitizer none --codegen-units 16)
done

failed=()
for entry in "${targets[@]}"; do
  crate="${entry%/*}" target="${entry#*/}"
  # The committed seeds are only read: new inputs go to the first directory.
  mkdir -p "$dir/corpus/$entry" "$dir/artifacts/$entry"
  log="$dir/logs/$crate-$target.txt"
  if "$CARGO_TARGET_DIR/$triple/release/$target" \
      "$bound" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=1024 \
      -print_final_stats=1 -artifact_prefix="$dir/artifacts/$entry/" \
      "$dir/corpus/$entry" "$crate/fuzz/corpus/$target" >"$log" 2>&1; then
    verdict=clean
  else
    verdict="FAILED, see $log"
    failed+=("$entry")
  fi
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  printf '%-28s %10s runs %8s/s  %s\n' "$entry" \
    "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" "$verdict"
done
[ "${#failed[@]}" = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
