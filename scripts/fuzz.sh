#!/usr/bin/env bash
# Runs every fuzz target for a while (default 60 s), from its seed corpus.
#
# The targets are built by plain cargo with the same instrumentation that cargo-fuzz would ask for, so
# that neither cargo-fuzz nor a nightly toolchain is needed. What is found stays in fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds="${1:-60}"
host="$(rustc -vV | sed -n 's/^host: //p')"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1 -Copt-level=3"

# With --target, build scripts and macros stay free of the instrumentation.
cargo build --release --target "$host"
for source in fuzz_targets/*.rs; do
    target="$(basename "$source" .rs)"
    # New finds go to found/, so that the committed seeds stay as they are.
    mkdir -p "found/$target" "corpus/$target" "artifacts/$target"
    echo "fuzz: $target for $seconds s"
    "$CARGO_TARGET_DIR/$host/release/$target" "found/$target" "corpus/$target" \
        -max_total_time="$seconds" -artifact_prefix="artifacts/$target/" -rss_limit_mb=1024 -timeout=10 \
        -print_final_stats=1 2>&1 | tail -n 12
done
