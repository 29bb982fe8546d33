#!/bin/sh
# Fuzzes what reads bytes of others, one target after another.
#
#   usage: testkit/fuzz.sh SECONDS [TARGET...]       all targets without a name
#
# Seeds stand in testkit/fuzz/seeds; what the fuzzer learns is kept in testkit/fuzz/corpus, outside of git. A finding is a
# file in testkit/fuzz/artifacts: mend the decoder, and add the file to the seeds, which `make test` replays.
set -eu
cd "$(dirname "$0")/fuzz"

seconds=${1:?usage: fuzz.sh SECONDS [TARGET...]}
shift
version=0.13.2
tools=${PROVOST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/provost/tools}/cargo-fuzz-$version
cargo +nightly --version >/dev/null || { echo "fuzzing needs a nightly compiler: rustup toolchain install nightly" >&2; exit 3; }
if [ ! -x "$tools/bin/cargo-fuzz" ]; then
    echo "installing cargo-fuzz $version (once; kept in $tools)" >&2
    cargo install --quiet --locked cargo-fuzz --version "$version" --root "$tools"
fi
PATH=$tools/bin:$PATH

[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list --fuzz-dir .)
nice cargo +nightly fuzz build --fuzz-dir .
failed=
for target in "$@"; do
    printf '\n==> %s, %s s\n' "$target" "$seconds"
    mkdir -p "corpus/$target"
    nice cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 ||
        failed="$failed $target"
done
[ -z "$failed" ] || { echo "findings:$failed (testkit/fuzz/artifacts)" >&2; exit 1; }
