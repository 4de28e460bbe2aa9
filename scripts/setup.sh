#!/usr/bin/env bash
# Installs the system packages that are missing, and for the tests some Python programs into a folder of their own in the
# user's cache. Safe to run at any time.
#
#   scripts/setup.sh [build] [test] [bench] [package]      (default: build)
#
# Knows Debian 12 and 13 and Ubuntu 24.04. Needs root or sudo only if something is missing.
# The Rust toolchain is yours to choose: see https://rustup.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

# What compiles and runs the product. x264 comes with "ugly", the AAC encoder with "libav".
BUILD=(
    build-essential cmake curl pkg-config
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav glib-networking
)
# Tools that look at our output from outside, and the database that a node can keep its catalog in.
TEST=(faketime ffmpeg iproute2 mkvtoolnix nftables postgresql python3-venv shellcheck)
# What makes and enters the roots of Debian 12 that packages are built and tried in, also those of another architecture.
PACKAGE=(arch-test debian-archive-keyring mmdebstrap qemu-user-static systemd-container)
# What our numbers stand beside.
BENCH=(ffmpeg nginx-light valgrind wrk)

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

main() {
    local wanted=() group
    [ $# -gt 0 ] || set -- build
    for group in "$@"; do
        case $group in
            build) wanted+=("${BUILD[@]}") ;;
            test) wanted+=("${TEST[@]}") ;;
            bench) wanted+=("${BENCH[@]}") ;;
            package) wanted+=("${PACKAGE[@]}") ;;
            *) fail "there is no group '$group': use build, test, bench or package" ;;
        esac
    done
    has cargo || fail "cargo is missing: install a Rust toolchain from https://rustup.rs"

    local missing=() package
    for package in "${wanted[@]}"; do
        installed "$package" || missing+=("$package")
    done
    if [[ " $* " == *" test "* ]]; then
        # Debian's npm pulls in Debian's nodejs, which would fight with one from elsewhere.
        has node || missing+=(nodejs)
        has npm || missing+=(npm)
        if ! browser >/dev/null; then
            if carried; then
                installed libnss3 || missing+=(libnss3)
            elif ! on_ubuntu; then
                missing+=(chromium)
            fi
        fi
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        install "${missing[@]}"
    fi
    if [[ " $* " == *" test "* ]] && ! browser >/dev/null && ! carried; then
        fail "no Chromium. Ubuntu ships it as a snap only: 'snap install chromium', or install Google Chrome," \
            "or name another one with CHROMIUM=/path/to/chromium"
    fi
    if [[ " $* " == *" test "* ]]; then
        python_packages
    fi
}

# Programs of others that the tests run against, in an environment of their own.
python_packages() {
    local wanted=e2e/python/requirements.txt
    local home="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/python"
    cmp -s "$wanted" "$home/installed.txt" && return
    say "installing $(paste -sd ' ' "$wanted") into $home"
    python3 -m venv --clear "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" "$home/installed.txt"
}

# Any browser that the tests can drive; e2e/browser/chromium.mjs looks for the same names.
browser() {
    if [ -n "${CHROMIUM:-}" ]; then
        echo "$CHROMIUM"
    else
        command -v chromium || command -v google-chrome || command -v google-chrome-stable || command -v chromium-browser
    fi
}

# Ubuntu has Chromium as a snap only; there the tests drive the one that an npm package of theirs carries.
carried() { on_ubuntu && [ "$(uname -m)" = x86_64 ]; }

on_ubuntu() { grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null; }

installed() {
    # nginx has flavours; any of them serves files.
    if [ "$1" = nginx-light ]; then
        has nginx || [ -x /usr/sbin/nginx ]
        return
    fi
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install() {
    has apt-get || fail "please install these, or what your system calls them: $*"
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || fail "run as root, or install sudo: apt-get install $*"
        root=(sudo)
    fi
    say "installing $*"
    # /tmp may be small or mounted noexec, and package scripts unpack there.
    local apt=(${root[@]+"${root[@]}"} env DEBIAN_FRONTEND=noninteractive TMPDIR=/var/tmp)
    "${apt[@]}" apt-get -qq update || say "apt-get update failed; going on with the lists that are there"
    if ! "${apt[@]}" apt-get -qq install -y --no-install-recommends "$@" >&2; then
        # An earlier installation that was interrupted blocks every later one until it is finished.
        say "that failed; finishing what dpkg left half done, and trying once more"
        "${apt[@]}" dpkg --configure -a >&2
        "${apt[@]}" apt-get -qq install -y --no-install-recommends "$@" >&2
    fi
    if [[ " $* " == *" nginx-light "* ]]; then
        stop_service nginx ${root[@]+"${root[@]}"}
    fi
    if [[ " $* " == *" postgresql "* ]]; then
        stop_service postgresql ${root[@]+"${root[@]}"}
    fi
}

# The packages start nginx on port 80 and a database on port 5432 at once; measurements and tests start
# their own. Called only where it was this script that installed it.
stop_service() {
    local service=$1
    shift
    if [ -d /run/systemd/system ]; then
        "$@" systemctl disable --now "$service" || true
    else
        "$@" service "$service" stop >/dev/null 2>&1 || true
    fi
}

main "$@"
