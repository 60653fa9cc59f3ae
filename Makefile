# Flux and chatdb. Two commands matter: `make run` and `make test`.
# Both do their own set-up on a machine with Rust, Node and a C compiler.

SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c
DATA       ?= ./data
LISTEN     ?= 127.0.0.1:8080
NPM_CI     := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
WEB        := gateway/web
DIST       := $(WEB)/dist/index.html
BOTS       := gateway/tests/bots
# The binaries as the Rust tests build them: the same features, so nothing is compiled a second time.
TEST_BINS  := cargo test --workspace --locked --no-run --quiet

.PHONY: run release test test-long sim check rust-test web-test bot-test voice-test setup mutants fuzz upgrade-test bench-peers bench-quick bench-gate bench-gate-update bench-cluster cluster chaos clean help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

run: release ## build everything and start Flux on LISTEN with its data in DATA
	./target/release/flux serve --data $(DATA) --listen $(LISTEN)

release: $(DIST) ## build the flux and chatdb binaries with the page inside
	cargo build --release --locked --bin flux --bin chatdb

$(WEB)/node_modules/.installed: $(WEB)/package.json $(WEB)/package-lock.json
	cd $(WEB) && $(NPM_CI)
	touch $@

$(DIST): $(WEB)/node_modules/.installed $(shell find $(WEB)/src $(WEB)/index.html $(WEB)/public -type f 2>/dev/null) $(WEB)/vite.config.ts
	cd $(WEB) && npm run --silent build

setup: $(DIST) ## install what the tests need: Chromium (as root, through apt), npm and pip packages
	@if ! command -v chromium >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-color-emoji >/dev/null; \
	  else echo "the browser tests need Chromium: install the package 'chromium' and run again" >&2; exit 1; fi; fi

check: ## formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

rust-test: $(DIST) ## every Rust test, one profile
	cargo test --workspace --locked

web-test: setup ## unit tests of the page, then two people chatting in a real browser, also while database nodes are killed
	cd $(WEB) && npm run --silent test
	$(TEST_BINS)
	cd $(WEB) && FLUX_BIN=$(CURDIR)/target/debug/flux CHATDB_BIN=$(CURDIR)/target/debug/chatdb npm run --silent e2e

bot-test: $(DIST) ## unmodified discord.py and discord.js bots against a real server
	$(TEST_BINS)
	FLUX_BIN=$(CURDIR)/target/debug/flux $(BOTS)/run.sh

voice-test: setup ## through the media plane: a tone and a picture of aiortc (pip), and two Chromium pages that call each other
	$(TEST_BINS)
	NODE_BIN=$(CURDIR)/target/debug/examples/stdio voice/tests/aiortc/run.sh
	PLAYWRIGHT=$(CURDIR)/$(WEB)/node_modules/playwright-core node voice/tests/browser/call.mjs $(CURDIR)/target/debug/examples/stdio

test: setup check rust-test web-test bot-test voice-test ## everything, from a fresh clone

test-long: ## 10 000 000 random operations on the storage engine beside a model (minutes)
	OPERATIONS=10000000 cargo test --locked -p lsm --test it model -- --nocapture

sim: ## replicas, and clusters of whole nodes, through crashes and cut ways in virtual time: SEEDS of each, from FIRST on
	SEEDS=$(or $(SEEDS),1000) FIRST=$(or $(FIRST),0) cargo test --locked -p raft --test it lives::through -- --nocapture
	SEEDS=$(or $(SEEDS),1000) FIRST=$(or $(FIRST),0) cargo test --locked -p chatdb --lib simulation::whole -- --nocapture

mutants: ## breaks one rule of replication after the other, and lets the simulation find each
	raft/tests/mutants/run.sh

fuzz: ## a million runs of every fuzz target (nightly Rust and cargo-fuzz)
	./docs/operations/fuzz.sh 1000000

upgrade-test: ## three nodes of commit FROM become nodes of this version one by one, under load
	./docs/operations/upgrade-test.sh $(FROM)

bench-peers: ## the storage engine beside RocksDB and fjall: the published run, 13 minutes
	cargo run --release --locked -p bench --features peers -- storage --peer rocksdb --peer fjall --out docs/benchmarks

bench-quick: ## the same with small sizes, about two minutes, nothing is kept
	cargo run --release --locked -p bench --features peers -- storage --peer rocksdb --peer fjall --quick

bench-cluster: ## three nodes of a cluster in numbers, etcd beside them (package etcd-server): the published run, 8 minutes
	cargo build --release --locked --bin chatdb -p chatdb
	cargo run --release --locked -p bench --bin bench -- cluster --out docs/benchmarks

bench-gate: ## instructions per row of the engine against the kept baseline, 3 % either way (needs valgrind)
	cargo run --release --locked -p bench --bin gate -- check bench/gate.json

bench-gate-update: ## count again and keep it as the baseline
	cargo run --release --locked -p bench --bin gate -- update bench/gate.json

cluster: release ## build, then three database nodes on 127.0.0.1, .2 and .3 with their data in ./cluster
	./deploy/cluster.sh $(or $(CLUSTER),./cluster)

chaos: ## NODES real processes (3) under faults for MINUTES (1), everything acknowledged checked; SEED repeats one
	cargo build --release --locked --bin chatdb -p chatdb
	cargo run --release --locked -p bench --bin bench -- chaos --nodes $(or $(NODES),3) \
	  --seconds $$((60 * $(or $(MINUTES),1))) $(if $(SEED),--seed $(SEED)) --out $(or $(OUT),target/chaos)

clean: ## remove what was built, never the data
	cargo clean
	rm -rf $(WEB)/dist $(WEB)/node_modules
