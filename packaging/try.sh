#!/usr/bin/env bash
# Installs a package of the agent in a fresh root of Debian 12 and goes the way of docs/raspberry-pi.md there, against a
# server that runs on this machine. What is not of this machine's architecture runs under qemu.
#
#   packaging/try.sh PACKAGE CLIP JOIN-OPTIONS...
#
# The options are those that `millrace device add` prints behind `millrace-agent join`.
set -euo pipefail
# shellcheck source=packaging/roots.sh
. "$(dirname "$0")/roots.sh"

package=$(realpath "$1") clip=$(realpath "$2")
shift 2
architecture=$(dpkg-deb --field "$package" Architecture)
[ "$architecture" != arm64 ] || run_arm64
# What the package needs, so that it installs from the layer without a network; systemd for its maintainer scripts.
needs=$(dpkg-deb --field "$package" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/ //g')
make_root "run-$architecture" "$architecture" "systemd,$needs"
enter_root "run-$architecture" --bind "$package" "/try/agent.deb" --bind "$clip" /try/clip.mp4 \
    --bind "$(realpath "$(dirname "$0")/five-minutes.sh")" /try/five-minutes.sh -- /try/five-minutes.sh "$@"
