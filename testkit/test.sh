#!/bin/bash
# Everything that `make test` runs, in order, with the time of each step. Stops at the first failure.
#
# CI=true turns what would be left out (no Go, no corpus beside the tree) into a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
summary=()

# Steps run where bash ignores `set -e`: a step of several commands joins them with &&.
step() {
  local name=$1 begun=$SECONDS
  shift
  printf '\n==> %s\n' "$name"
  if ! "$@"; then
    printf '\nFAILED: %s (after %d s)\n' "$name" $((SECONDS - begun))
    exit 1
  fi
  summary+=("$(printf '%6d s  %s' $((SECONDS - begun)) "$name")")
}

missing() {
  if [ "${CI:-}" = true ]; then
    echo "missing in CI: $1"
    exit 1
  fi
  echo "left out: $1"
}

# Exported paths are how Rust tests find the programs; unset means that they say what they leave out.
go_tools() {
  PROVOST_ORACLE=$(testkit/build-go.sh oracle) || return 1
  export PROVOST_ORACLE
  # Where the tests use another API server, ours is not built; testkit/src/controlplane says when.
  if [ "${PROVOST_TEST_CLUSTER:-}" != KUBECONFIG ] && [ -z "${KUBEBUILDER_ASSETS:-}" ]; then
    PROVOST_CONTROLPLANE=$(testkit/build-go.sh controlplane) || return 1
    export PROVOST_CONTROLPLANE
  fi
}

# The fixtures violate policies on purpose: 1 is the right answer.
first_steps() {
  local code=0
  target/debug/provost scan testkit/fixtures >/dev/null || code=$?
  [ "$code" = 1 ] || { echo "provost scan testkit/fixtures exited $code, expected 1"; return 1; }
}

# One crypto provider, one YAML library: what deny.toml bans must not be built, whatever cargo-deny says of it.
dependencies() {
  local banned
  for banned in ring openssl openssl-sys native-tls serde_yaml; do
    if cargo tree --locked --workspace -e normal,build --target all -i "$banned" 2>/dev/null | grep -q .; then
      echo "$banned would be built:"
      cargo tree --locked --workspace -e normal,build --target all -i "$banned"
      return 1
    fi
  done
  local deny=("$(cargo_deny)" --all-features check --hide-inclusion-graph)
  [ -x "${deny[0]}" ] && "${deny[@]}" bans licenses sources || return 1
  # Known vulnerabilities: their list lives in a git repository, not in the registry.
  local database=https://github.com/rustsec/advisory-db
  if GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --quiet "$database" HEAD >/dev/null 2>&1; then
    "${deny[@]}" advisories
  else
    echo "advisories NOT checked: $database cannot be reached"
  fi
}

# Prints the path of cargo-deny, built once and kept beside the Go programs.
cargo_deny() {
  local version=0.20.2
  local folder=${PROVOST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/provost/tools}/cargo-deny-$version
  if [ ! -x "$folder/bin/cargo-deny" ]; then
    echo "building cargo-deny $version (once, about four minutes; kept in $folder)" >&2
    (cd / && nice cargo install --quiet --locked cargo-deny --version "$version" --root "$folder") >&2 || return 1
  fi
  echo "$folder/bin/cargo-deny"
}

opa_tests() {
  "$PROVOST_ORACLE" fmt policies &&
    "$PROVOST_ORACLE" check policies &&
    "$PROVOST_ORACLE" test policies --ignore '*.yaml' &&
    "$PROVOST_ORACLE" examples policies
}

command -v cargo >/dev/null || { echo "cargo is not installed: see https://rustup.rs"; exit 2; }
[ -d ../shared/corpus ] || missing "the corpus of real manifests (../shared/corpus)"

step "format" cargo fmt --all --check
if command -v go >/dev/null; then
  step "test programs in Go (cached by their sources)" go_tools
else
  missing "Go 1.26: the tests against OPA and a real API server"
fi
step "dependencies" dependencies
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "build" cargo build --workspace --all-targets --locked
step "tests" cargo test --workspace --locked
[ -z "${PROVOST_ORACLE:-}" ] || step "policy tests by OPA" opa_tests
step "policy tests by provost" target/debug/provost test policies
step "first steps of the README" first_steps
step "our own manifests" target/debug/provost scan deploy --fail-on high
step "demo" target/debug/provost demo --check

printf '\nTime of each step:\n'
printf '%s\n' "${summary[@]}"
printf 'all passed in %d s\n' $((SECONDS - started))
