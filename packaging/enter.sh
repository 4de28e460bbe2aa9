#!/usr/bin/env bash
# Runs a command in a root, with a layer of its own on top; roots.sh starts this in a mount namespace of its own.
#
#   enter.sh ROOT [--bind FROM TO]... -- COMMAND...
set -euo pipefail

root=$1
shift
binds=()
while [ "$1" != -- ]; do
    [ "$1" = --bind ] || { echo "enter.sh: $1 is unknown" >&2; exit 2; }
    binds+=("$2" "$3")
    shift 3
done
shift

mount --make-rprivate /
# The layer lies in memory, and everything is gone with the namespace.
layer=$(mktemp -d)
mount -t tmpfs tmpfs "$layer"
rmdir_later() { umount -l "$layer" && rmdir "$layer"; }
trap rmdir_later EXIT
mkdir "$layer/changes" "$layer/work" "$layer/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$layer/changes,workdir=$layer/work" "$layer/root"
inside="$layer/root"
mount -t proc proc "$inside/proc"
mount --rbind /dev "$inside/dev"
mount -t tmpfs tmpfs "$inside/tmp"
for ((i = 0; i < ${#binds[@]}; i += 2)); do
    from=${binds[i]} to="$inside${binds[i + 1]}"
    if [ -d "$from" ]; then mkdir -p "$to"; else mkdir -p "$(dirname "$to")"; touch "$to"; fi
    mount --bind "$from" "$to"
done
cd /
chroot "$inside" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/nonexistent "$@"
