#!/usr/bin/env bash
# Boots a root of Debian 12 with systemd in a container, installs packages there, and has both services live through what
# their units promise: packaging/probe.sh. For packages of this machine's architecture.
#
#   packaging/boot.sh FOLDER-OF-THE-PACKAGES
set -euo pipefail
here=$(realpath "$(dirname "$0")")
# shellcheck source=packaging/roots.sh
. "$here/roots.sh"

architecture=$(dpkg --print-architecture)
agent=$(realpath "$1"/millrace-agent_*_"$architecture".deb)
server=$(realpath "$1"/millrace_*_"$architecture".deb)
if [ "${2:-}" != inside ]; then
    needs=$(dpkg-deb --field "$agent" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/ //g')
    make_root "run-$architecture" "$architecture" "systemd,$needs"
    as_root env "XDG_CACHE_HOME=$(dirname "$(dirname "$ROOTS")")" unshare --mount "$here/boot.sh" "$1" inside
    exit
fi

# From here on in a mount namespace of its own: what is mounted goes with it.
mount --make-rprivate /
layer=$(mktemp -d)
mount -t tmpfs tmpfs "$layer"
trap 'umount -l "$layer" && rmdir "$layer"' EXIT
root="$layer/root"
mkdir "$layer/changes" "$layer/work" "$root"
mount -t overlay overlay -o "lowerdir=$ROOTS/run-$architecture,upperdir=$layer/changes,workdir=$layer/work" "$root"
mkdir "$root/probe"
cp "$agent" "$root/probe/agent.deb"
cp "$server" "$root/probe/server.deb"
cp "$here/probe.sh" "$root/probe"
units="$root/etc/systemd/system"
mkdir -p "$units/multi-user.target.wants"
printf '[Service]\nType=oneshot\nExecStart=/bin/sh /probe/probe.sh\nExecStopPost=/bin/systemctl --no-block poweroff\n' \
    >"$units/probe.service"
ln -s ../probe.service "$units/multi-user.target.wants/probe.service"
# An older machine has its control groups in several trees.
[ -e /sys/fs/cgroup/cgroup.controllers ] || export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0
timeout 900 systemd-nspawn --quiet --directory="$root" --boot --private-network --register=no --keep-unit \
    --machine=millrace-probe </dev/null >"$layer/console" 2>&1 || tail "$layer/console" >&2
cat "$root/probe/log"
grep -q '^== all is as the units promise' "$root/probe/log" || fail "something is not; see above"
