#!/bin/sh
# Runs every fuzz target for SECONDS each (default 60), as `make fuzz` does.
set -eu
exec "$(dirname "$0")/../scripts/fuzz.sh" "$@"
