#!/bin/sh
# Installs the peers that `cargo bench -p provost-testkit -- scan` is compared with, in their own folders outside the
# tree, and prints the lines that tell the benchmark of them:  eval "$(testkit/peers.sh)"
#
# The folder is ${XDG_CACHE_HOME:-$HOME/.cache}/provost/tools unless PROVOST_TOOLS_DIR says otherwise. Needs Go.
set -eu

tools=${PROVOST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/provost/tools}
install() {
    bin=$tools/$1-$2/bin
    if [ ! -x "$bin/$1" ]; then
        echo "building $1 $2 (once; kept in $bin)" >&2
        (cd / && GOBIN=$bin nice go install "$3@v$2") >&2
    fi
    echo "export $4=$bin/$1"
}
install conftest 0.71.1 github.com/open-policy-agent/conftest PROVOST_CONFTEST
install gator 3.23.1 github.com/open-policy-agent/gatekeeper/v3/cmd/gator PROVOST_GATOR
