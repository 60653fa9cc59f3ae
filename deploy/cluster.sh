#!/usr/bin/env bash
# Three chatdb nodes on 127.0.0.1, .2 and .3 as plain processes; Ctrl-C stops them all.
#
#   deploy/cluster.sh [DIR]      data, logs and process ids go to DIR (default ./cluster)
#
# CHATDB_BIN names the program (default target/release/chatdb), NODES their number (default 3, at most 9). Ports of each
# node: 7400 gRPC, 7500 replication, 7600 metrics. A directory that is there is started again as it was.
set -euo pipefail

dir=${1:-./cluster}
program=${CHATDB_BIN:-target/release/chatdb}
nodes=${NODES:-3}
[[ $nodes =~ ^[1-9]$ ]] || { echo "NODES is a number from 1 to 9, not $nodes" >&2; exit 2; }
[[ -x $program ]] || { echo "$program is not there: make release, or name it with CHATDB_BIN" >&2; exit 1; }

children=()
stop() {
  trap - INT TERM EXIT
  local child
  for child in "${children[@]}"; do
    # One that ended by itself is fine.
    kill -TERM "$child" 2>/dev/null || true
  done
  for child in "${children[@]}"; do
    wait "$child" 2>/dev/null || true
  done
  rm -f "$dir"/node*.pid
}
trap stop EXIT
trap 'exit 0' INT TERM

# Starts node $1 and waits until it says that it is ready.
start() {
  local node=$1 address=127.0.0.$1 log=$dir/node$1.log
  local arguments=(serve --data "$dir/node$node" --grpc "$address:7400" --node-listen "$address:7500"
    --metrics-listen "$address:7600" --zone "zone$node")
  ((node == 1)) || arguments+=(--join http://127.0.0.1:7400)
  mkdir -p "$dir/node$node"
  : >"$log"
  # A group of its own: Ctrl-C reaches this script, which then stops the nodes.
  setsid "$program" "${arguments[@]}" >>"$log" 2>&1 &
  children+=($!)
  echo $! >"$dir/node$node.pid"
}

wait_ready() {
  local node=$1 log=$dir/node$1.log
  local deadline=$((SECONDS + 60))
  until grep -q "is ready" "$log"; do
    if ! kill -0 "$(cat "$dir/node$node.pid")" 2>/dev/null || ((SECONDS > deadline)); then
      echo "node $node did not start:" >&2
      tail -5 "$log" >&2
      exit 1
    fi
    sleep 0.05
  done
}

mkdir -p "$dir"
if [[ -d $dir/node1 ]]; then
  # They know each other: none is ready before most of them run.
  for node in $(seq "$nodes"); do start "$node"; done
  for node in $(seq "$nodes"); do wait_ready "$node"; done
else
  for node in $(seq "$nodes"); do start "$node"; wait_ready "$node"; done
fi

all=$(seq -s, -f 'http://127.0.0.%g:7400' "$nodes")
cat <<TEXT
cluster is ready: $all

  $program cluster status --at $all
  $program shell --at 127.0.0.2:7400
  ${program%/*}/flux serve --db $all --listen 127.0.0.1:8080
  kill -9 \$(cat $dir/node2.pid)      # and see in the status who leads now

Status page: http://127.0.0.1:7600/ (and .2, .3; /metrics for Prometheus). Logs and data: $dir. Ctrl-C stops all nodes.
TEXT
# Returns when the last one has ended.
wait "${children[@]}" || true
echo "all nodes have ended; see $dir/node*.log" >&2
exit 1
