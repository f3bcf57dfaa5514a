# What one does with a clone. Every target installs what it needs; a second run is incremental.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A target that is not a file, all of them.
.PHONY: help demo test soak soak-short chaos fuzz release bench bench-host lint docs ci prepare filters-toolchain bench-parts docs-parts clean

help: ## Show this
	@echo "tidegate: a programmable proxy for service-to-service traffic, extended with WebAssembly"
	@echo
	@sed --quiet --regexp-extended 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand --tabs=16

demo: prepare ## Start the quickstart and show what its filters do (ONCE=1: show it once and end)
	cargo build --quiet
	cargo run --quiet --bin quickstart -- $(if $(ONCE),--once)

test: prepare ## Run every test, with what they need (Envoy included)
	tests/setup/tests.sh
	TIDEGATE_REQUIRE_TOOLS=1 cargo test --workspace --exclude guests

soak: prepare ## Run the tests of large numbers and of endurance in full, with the release build (FOR=seconds each: 600)
	cargo build --release
	TIDEGATE_BINARY=$(CURDIR)/target/release/tidegate TIDEGATE_TEST_STREAM_MIB=1024 \
	  TIDEGATE_TEST_SECONDS=$(or $(FOR),600) \
	  cargo test --package tidegate --test e2e -- proxy::scale proxy::endurance --nocapture --test-threads 1

# The sanitizer that finds what the fuzzer's inputs do is an unstable option of the compiler.
soak-short: prepare ## A minute of mixed traffic with reloads, faults and dead upstreams, with the binary of the tests
	TIDEGATE_TEST_SECONDS=60 cargo test --workspace --exclude guests --test e2e -- proxy::endurance::everything --nocapture

chaos: prepare ## A minute of endpoints that fail in every way, beside Envoy with the same policies (FOR=seconds: 60)
	tests/setup/envoy.sh
	cargo build --release
	TIDEGATE_BINARY=$(CURDIR)/target/release/tidegate TIDEGATE_TEST_SECONDS=$(or $(FOR),60) TIDEGATE_REQUIRE_TOOLS=1 \
	  cargo test --package tidegate --test e2e -- chaos --nocapture --test-threads 1

fuzz: prepare ## Look for a guest that harms its host, for FOR seconds (600)
	tests/setup/cargo-fuzz.sh
	RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$(CURDIR)/build/fuzz build/cargo-fuzz/bin/cargo-fuzz run \
	  --fuzz-dir tests/fuzz hostcalls -- -max_total_time=$(or $(FOR),600) -max_len=4096

release: prepare bench-parts ## Build the binary to ship, guided by a profile: build/release/tidegate
	tests/setup/release.sh

bench: $(if $(QUICK),prepare bench-parts,release) ## Compare with Envoy, nginx and HAProxy on this machine (QUICK=1: in short)
	cargo bench --package tidegate --bench compare -- $(if $(QUICK),--quick,--tidegate $(CURDIR)/build/release/tidegate)

bench-host: prepare ## Measure single hostcalls, callbacks and picks of endpoints (FILTER=name: only those)
	cargo bench --package tidegate --bench host --bench balance -- $(FILTER)

lint: prepare ## Check format and style, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

docs: prepare docs-parts ## Build the API docs and the book, warnings denied
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps
	$(if $(wildcard docs/book.toml),build/bin/mdbook build docs --dest-dir build/book,@echo "no book yet")

ci: ## What CI runs
	.ci/run

clean: ## Remove what was built and installed under build/ and target/
	rm -rf build target

# A wasm32 toolchain for the filters that the binary ships.
prepare: filters-toolchain

filters-toolchain:
	@tests/setup/toolchain.sh

bench-parts:
	tests/setup/packages.sh nginx-light haproxy nghttp2-client wrk
	tests/setup/envoy.sh
	@mkdir -p build/guests
	cargo run --quiet --package tidegate-build -- tests/guests --example headers --profile filter --out build/guests/headers.wasm

docs-parts:
	tests/setup/mdbook.sh
