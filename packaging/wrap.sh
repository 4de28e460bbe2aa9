#!/bin/sh
# Puts binaries that are built into packages, and fails if lintian finds anything.
#
#   wrap.sh ARCHITECTURE FOLDER-OF-THE-BINARIES FOLDER-FOR-THE-PACKAGES
set -eu

architecture=$1 binaries=$2 packages=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage="$work/millrace"
mkdir -p "$stage/bin"
cp -r "$here/debian" "$stage/debian"
cp "$here"/*.1 "$here/agent.toml" "$here/server.env" "$here/../docs/raspberry-pi.md" "$stage"
cp "$binaries/millrace-agent" "$binaries/millrace" "$stage/bin"

cd "$stage"
# The tools of the list are those of the root; debhelper is all that is used of them.
dpkg-buildpackage --no-check-builddeps --unsigned-changes --build=binary --host-arch "$architecture" >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
# The packages of debug information have binaries of the agent's and the server's only.
lintian --fail-on error,warning --tag-display-limit 0 --allow-root "$work"/millrace*_"$architecture".deb
rm -f "$packages"/millrace*_"$architecture".deb
cp "$work"/millrace*_"$architecture".deb "$packages"
