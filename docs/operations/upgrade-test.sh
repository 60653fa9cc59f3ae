#!/usr/bin/env bash
# Three nodes of an earlier version become nodes of this one, one after the other, while they are written to.
#
#   docs/operations/upgrade-test.sh COMMIT      or: make upgrade-test FROM=COMMIT
#
# Builds the program of COMMIT in a worktree of its own (under target/upgrade, removed at the end) and this one's test of
# it, chatdb/tests/it/upgrade.rs. CHATDB_OLD names a program that was built already instead. See upgrade.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [[ -z ${CHATDB_OLD:-} ]]; then
  from=${1:?"which commit? docs/operations/upgrade-test.sh COMMIT"}
  commit=$(git rev-parse --verify --quiet "$from^{commit}") || { echo "there is no commit $from" >&2; exit 2; }
  tree=$PWD/target/upgrade/tree
  mkdir -p target/upgrade
  git worktree remove --force "$tree" 2>/dev/null || true
  git worktree add --quiet --detach "$tree" "$commit"
  trap 'git worktree remove --force "$tree"' EXIT
  # A directory of its own: the third-party crates are compiled once for all versions.
  (cd "$tree" && CARGO_TARGET_DIR="$PWD/../build" cargo build --locked -p chatdb --bin chatdb)
  CHATDB_OLD=$PWD/target/upgrade/build/debug/chatdb
fi
export CHATDB_OLD
echo "from $CHATDB_OLD"
cargo test --locked -p chatdb --test it -- --ignored --nocapture \
  nodes_are_replaced_by_those_of_this_version_one_by_one_under_load
