#!/usr/bin/env bash
# Runs every measurement beside its baseline and writes the table to bench/README.md.
#
#   scripts/bench.sh [parse] [ingest] [put-media] [vault] [archive] [memory] [playback] [reads] [session] [agent] [badlink] [week]
#   (default: all but memory, badlink and week, which take a quarter of an hour and more, and the table is written)
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --release --workspace --bins
bench="${CARGO_TARGET_DIR:-target}/release/bench"
# Data goes to the disk that holds the build, never to a RAM disk.
data=$(mktemp -d "${CARGO_TARGET_DIR:-target}/bench.XXXXXX")
trap 'rm -rf "$data"' EXIT

measure() {
    case $1 in
        parse) "$bench" parse ;;
        week) "$bench" week --dir "$data" --plot bench/week.svg ;;
        badlink) "$bench" badlink --dir "$data" --plot bench/badlink.svg ;;
        memory) "$bench" memory --dir "$data" --plot bench/memory.svg ;;
        *) "$bench" "$1" --dir "$data" ;;
    esac
}

if [ $# -gt 0 ]; then
    for name in "$@"; do measure "$name"; done
    exit
fi

table=$(mktemp)
{
    echo "Measured $(date -u +%F) on $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)," \
        "$(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo) of memory, Linux $(uname -r)," \
        "$(df --output=fstype "$data" | tail -n 1) on $(df --output=source "$data" | tail -n 1); load generator and server on the same machine."
    for name in ingest put-media vault archive playback reads session parse agent; do
        echo
        measure "$name"
    done
} | tee "$table"
# The table lies between two marks; what is written by hand around it stays.
awk -v table="$table" '
    /<!-- figures -->/ { print; print ""; while ((getline line < table) > 0) print line; print ""; skip = 1 }
    /<!-- end of figures -->/ { skip = 0 }
    !skip || /<!-- end of figures -->/ { if ($0 !~ /<!-- figures -->/) print }
' bench/README.md > "$table.new"
mv "$table.new" bench/README.md
rm -f "$table"
