# The two commands a newcomer needs are `make demo` and `make test`; the rest are parts of them.
.DEFAULT_GOAL := help
.PHONY: help demo test soak build lint tools fuzz clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: build ## run a fleet of six agents and one hub on this machine until Ctrl-C
	@"$${CARGO_TARGET_DIR:-target}/debug/provost" demo || [ $$? -eq 130 ]

build: ## build the three programs
	cargo build --locked --bin provost --bin provost-agent --bin provost-aggregator

test: ## install what the tests need and run all of them
	@testkit/test.sh

soak: build ## the fault tests with ROUNDS kills each (200) in place of 20
	PROVOST_SOAK_ROUNDS=$(or $(ROUNDS),200) cargo test --locked -p provost-testkit --test faults -- --test-threads 2

lint: ## format and lints only
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

tools: ## build the test programs written in Go (OPA as oracle, a real control plane)
	@testkit/build-go.sh oracle
	@testkit/build-go.sh controlplane

fuzz: ## fuzz every decoder for SECONDS each (60), or those of TARGETS; needs nightly Rust
	@testkit/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

clean: ## remove what was built in the tree
	cargo clean
