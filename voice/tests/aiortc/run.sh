#!/usr/bin/env bash
# A tone and a picture through a node, with aiortc as all clients, over both SRTP profiles. Sets up what it needs: .venv (pip).
# NODE_BIN names the built example `stdio`; without it, it is built.
set -euo pipefail
cd "$(dirname "$0")"

if [ -z "${NODE_BIN:-}" ]; then
  (cd ../../.. && cargo build --quiet --locked -p voice --example stdio)
  NODE_BIN=$(cd ../../.. && pwd)/target/debug/examples/stdio
fi
if ! cmp -s requirements.txt .venv/installed.txt; then
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt .venv/installed.txt
fi
for profile in gcm sha1; do
  .venv/bin/python tone.py "$NODE_BIN" "$profile"
done
