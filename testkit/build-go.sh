#!/bin/sh
# Builds testkit/NAME, a Go program with its own go.mod, outside the tree and prints the path of the program.
#
#   usage: testkit/build-go.sh NAME
#
# The program lies at $PROVOST_TOOLS_DIR/NAME-HASH/NAME, where HASH is over the program's sources and the version of
# Go; the folder is ${XDG_CACHE_HOME:-$HOME/.cache}/provost/tools unless PROVOST_TOOLS_DIR says otherwise. A file
# testkit/NAME/ldflags holds further flags for the linker. Nothing is built when that program exists already; builds
# that were unused for a month go. Calls at the same time are safe: a lock lets one build, and the finished program is
# renamed into place. Exit code 3 says that there is no Go to build with.
set -eu

name=${1:?usage: build-go.sh NAME}
case $name in
*[!a-z0-9-]*) echo "build-go.sh: $name is not the name of a folder of testkit" >&2; exit 2 ;;
esac
source=$(cd "$(dirname "$0")" && pwd)/$name
[ -f "$source/go.mod" ] || { echo "build-go.sh: there is no $source/go.mod" >&2; exit 2; }
command -v go >/dev/null || { echo "build-go.sh: Go is not installed; $name needs version 1.26 or newer" >&2; exit 3; }

ldflags="-s -w $(cat "$source/ldflags" 2>/dev/null || true)"
tools=${PROVOST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/provost/tools}
hash=$(
    cd "$source"
    {
        go env GOVERSION GOOS GOARCH
        echo "$ldflags"
        find . -type f \( -name '*.go' -o -name 'go.*' -o -name '*.json' -o -name '*.yaml' \) ! -name '*_test.go' |
            LC_ALL=C sort | while read -r file; do echo "$file"; sha256sum <"$file"; done
    } | sha256sum | cut -c 1-16
)
folder=$tools/$name-$hash
program=$folder/$name
if [ -x "$program" ]; then
    touch -c "$folder"
    echo "$program"
    exit 0
fi

mkdir -p "$folder"
exec 9>"$folder.lock"
if command -v flock >/dev/null; then flock 9; fi
if [ ! -x "$program" ]; then
    echo "building testkit/$name (once; kept in $folder)" >&2
    trap 'rm -f "$folder/$name.new.$$"' EXIT INT TERM
    (cd "$source" && GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0 nice go build -trimpath -buildvcs=false \
        -ldflags "$ldflags" -o "$folder/$name.new.$$" . 9>&-) >&2
    mv "$folder/$name.new.$$" "$program"
    # Builds of other sources that nobody has used for a month.
    hex='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
    find "$tools" -maxdepth 1 -name "$name-$hex$hex$hex$hex*" -mtime +30 -exec rm -rf {} +
fi
echo "$program"
