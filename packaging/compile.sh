#!/bin/sh
# Inside the root: compiles, wraps and checks. /source is the repository, /cargo has the dependencies, /deb takes packages.
#
#   compile.sh ARCHITECTURE RUST-TARGET
set -eu

architecture=$1 triple=$2
tools=$(dpkg-architecture -a"$architecture" -qDEB_HOST_GNU_TYPE)
upper=$(echo "$triple" | tr a-z- A-Z_)
lower=$(echo "$triple" | tr - _)

export CARGO_HOME=/cargo CARGO_TARGET_DIR=/target CARGO_INCREMENTAL=0
export PKG_CONFIG="$tools-pkg-config" PKG_CONFIG_ALLOW_CROSS=1
export "CARGO_TARGET_${upper}_LINKER=$tools-gcc" "CC_$lower=$tools-gcc" "CXX_$lower=$tools-g++" "AR_$lower=$tools-ar"

cd /source
# One after the other: their dependencies are largely the same, and a small machine has room for one.
for package in millrace-agent millrace; do
    nice -n 10 cargo build --offline --locked --profile deb --target "$triple" --package "$package" --bins
done
packaging/wrap.sh "$architecture" "/target/$triple/deb" /deb
