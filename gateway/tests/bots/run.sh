#!/usr/bin/env bash
# Drives unmodified discord.py and discord.js bots through a real server. Sets up what it needs:
# .venv (pip) and node_modules (npm, no scripts). FLUX_BIN names the server; without it, it is built.
set -euo pipefail
cd "$(dirname "$0")"

if [ -z "${FLUX_BIN:-}" ]; then
  (cd ../../.. && cargo build --quiet --locked --bin flux)
  FLUX_BIN=$(cd ../../.. && pwd)/target/debug/flux
fi

if ! cmp -s requirements.txt .venv/installed.txt; then
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt .venv/installed.txt
fi
if ! cmp -s package-lock.json node_modules/.installed.json; then
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  cp package-lock.json node_modules/.installed.json
fi

run() {
  local name=$1
  shift
  echo "$name: log in, talk, page, be cut off, resume"
  .venv/bin/python drive.py "$FLUX_BIN" "$@"
  echo "$name: passed"
}
run "discord.py 2.7.1" .venv/bin/python bot.py
run "discord.js 14.28.1" node bot.mjs
