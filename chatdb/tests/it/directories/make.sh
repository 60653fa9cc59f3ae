#!/usr/bin/env bash
# Makes the directory of a node for the tests of upgrades, with a program of any version.
#
#   chatdb/tests/it/directories/make.sh PROGRAM NAME
#
# The node gets a keyspace, tables of several kinds, rows in files and rows that are only in the log. The zeros behind the
# log are cut off; the test lays them there again.
set -euo pipefail
program=$1
dir="$(cd "$(dirname "$0")" && pwd)/$2"
[[ ! -e $dir ]] || { echo "$dir is there already" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

serve() {
  "$program" serve --data "$work/data" --grpc 127.0.0.1:0 --tablets 1 --memtables-mib 1 >"$work/said" &
  server=$!
  until address=$(sed -n 's|.*ready: http://\([^ ]*\).*|\1|p' "$work/said") && [[ -n $address ]]; do
    kill -0 "$server"
    sleep 0.1
  done
}

ask() {
  "$program" query - --at "$address"
}

serve
ask <<'CQL'
CREATE KEYSPACE app;
CREATE TABLE app.notes (id bigint PRIMARY KEY, text text, tags set<text>, marks map<text, int>, log list<text>);
CREATE TABLE app.messages (channel bigint, id bigint, text text, PRIMARY KEY (channel, id)) WITH CLUSTERING ORDER BY (id DESC);
CREATE TABLE app.counts (id bigint PRIMARY KEY, seen counter);
CQL
long=$(printf 'words %.0s' {1..2300})
for id in {0..29}; do
  echo "INSERT INTO app.notes (id, text, tags, marks, log) VALUES ($id, '$id $long', {'a', 'b'}, {'c': $id}, ['d']);"
done | ask
for id in {0..49}; do
  echo "INSERT INTO app.messages (channel, id, text) VALUES ($((id % 3)), $id, 'message $id');"
done | ask
ask <<'CQL'
DELETE FROM app.notes WHERE id = 7;
DELETE tags FROM app.notes WHERE id = 8;
DELETE FROM app.messages WHERE channel = 1 AND id < 10;
CQL
kill -TERM "$server"
wait "$server"
# Once more, so that something is only in the log.
serve
for _ in 1 2 3; do echo "UPDATE app.counts SET seen = seen + 2 WHERE id = 1;"; done | ask
echo "INSERT INTO app.notes (id, text) VALUES (1000, 'in the log only');" | ask
kill -TERM "$server"
wait "$server"
find "$work/data/tablets" -name '*.sst' | grep -q . || { echo "no file was written" >&2; exit 1; }
for segment in "$work"/data/log/*.log; do
  # The last byte that is not zero ends the file.
  used=$(LC_ALL=C grep -obUaP '[^\x00]' "$segment" | tail -1 | cut -d: -f1)
  truncate -s $((used + 1)) "$segment"
done
find "$work/data" -name LOCK -delete
find "$work/data" -type d -empty -delete
cp -r "$work/data" "$dir"
du -sh "$dir"
