#!/usr/bin/env bash
# Builds the packages of agent and server for one architecture, in a root of Debian 12, and looks at them with lintian.
#
#   packaging/deb.sh amd64|arm64
#
# Packages end in $CARGO_TARGET_DIR/deb (target/deb). Needs what `scripts/setup.sh package` installs. On an amd64
# machine arm64 is cross-compiled; Debian's own Rust makes both.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=packaging/roots.sh
. packaging/roots.sh

ARCHITECTURE=${1:?which architecture: amd64 or arm64}
HERE=$(dpkg --print-architecture)
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")
CARGO_HOME=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")
# What compiles for the machine that it runs on, and what wraps and checks.
TOOLS=ca-certificates,cargo-web,cmake,debhelper,dpkg-dev,g++,gcc,lintian,pkg-config,rustc-web
LIBRARIES=(libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev)

case $ARCHITECTURE in
    amd64) triple=x86_64-unknown-linux-gnu ;;
    arm64) triple=aarch64-unknown-linux-gnu ;;
    *) fail "there are no packages for $ARCHITECTURE: use amd64 or arm64" ;;
esac
if [ "$HERE" = "$ARCHITECTURE" ]; then
    architectures=$HERE
else
    architectures=$HERE,$ARCHITECTURE
    LIBRARIES+=(libstd-rust-web-dev)
    TOOLS+=,crossbuild-essential-$ARCHITECTURE
fi
make_root "build-$ARCHITECTURE" "$architectures" \
    "$TOOLS,$(printf "%s:$ARCHITECTURE," "${LIBRARIES[@]}" | sed 's/,$//')"

# The sources of the dependencies come through this machine's cargo, which may have a registry of its own.
cargo fetch --quiet --locked
mkdir -p "$TARGET/deb" "$TARGET/package/$ARCHITECTURE"
enter_root "build-$ARCHITECTURE" --bind "$PWD" /source --bind "$CARGO_HOME" /cargo \
    --bind "$TARGET/package/$ARCHITECTURE" /target --bind "$TARGET/deb" /deb -- \
    /source/packaging/compile.sh "$ARCHITECTURE" "$triple"
[ "$(id -u)" -eq 0 ] || as_root chown -R "$(id -u):$(id -g)" "$TARGET/package/$ARCHITECTURE" "$TARGET/deb"
ls "$TARGET"/deb/*_"$ARCHITECTURE".deb
