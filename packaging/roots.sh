# shellcheck shell=bash
# Roots of Debian 12 to build packages in and to try them in, whatever this machine runs. Sourced.
#
# They lie in the user's cache, are made once, and are never written to later: who enters one gets a layer of his own
# on top, which is gone when he leaves. The layers need root, so they are entered with sudo by others.

ROOTS="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/package"
SUITE=bookworm

say() { echo "package: $*" >&2; }
fail() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    fi
}

# make_root NAME ARCHITECTURES PACKAGES: the first architecture is the root's own.
make_root() {
    local architectures=$2 packages=$3 root="$ROOTS/$1"
    # Another list of packages is another root.
    local made="$architectures $packages"
    [ "$(cat "$root.made" 2>/dev/null)" != "$made" ] || return 0
    say "making $root, once; this takes some minutes"
    mkdir -p "$ROOTS"
    as_root rm -rf "$root" "$root.made"
    # /tmp may be mounted noexec, and package scripts unpack there.
    as_root env TMPDIR=/var/tmp mmdebstrap --quiet --mode=root --variant=minbase --architectures="$architectures" \
        --include="$packages" "$SUITE" "$root" >&2
    echo "$made" >"$root.made"
}

# enter_root NAME [--bind FROM TO]... -- COMMAND...
enter_root() {
    local root="$ROOTS/$1"
    shift
    as_root unshare --mount --pid --fork --kill-child "$(dirname "${BASH_SOURCE[0]}")/enter.sh" "$root" "$@"
}

# Lets the kernel hand arm64 programs to qemu, if it does not yet.
run_arm64() {
    [ "$(dpkg --print-architecture)" != arm64 ] || return 0
    local registry=/proc/sys/fs/binfmt_misc
    [ -e $registry/register ] || as_root mount -t binfmt_misc binfmt_misc $registry
    [ -e $registry/qemu-aarch64 ] || as_root sh -c "cat /usr/lib/binfmt.d/qemu-aarch64.conf >$registry/register"
}
