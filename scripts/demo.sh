#!/usr/bin/env bash
# Two simulated cameras, an agent and a server on this machine; prints where to watch, and counts until Ctrl-C.
#
#   CHECK=1     watch in headless Chromium instead; ends with 0 only if both cameras play
#   DATA=dir    where to keep data (default: millrace-demo-data; a temporary folder with CHECK=1)
#   HTTP_PORT, QUIC_PORT   other ports than 8080 and 8443 (free ones with CHECK=1)
set -euo pipefail
cd "$(dirname "$0")/.."

CHECK="${CHECK:-}"
CAMERAS=(yard=h264-aac.mp4 door=h264-bframes.mp4)
# What the check has to know of these clips: samples/README.md.
WATCHED='[{"name": "yard", "frames": 250, "framesPerSecond": 25, "audio": true},
    {"name": "door", "frames": 250, "framesPerSecond": 25, "audio": false}]'

main() {
    if [ -n "$CHECK" ]; then
        scripts/setup.sh build test
        (cd e2e/browser && npm ci --silent)
    else
        scripts/setup.sh build
    fi
    echo "demo: building (some minutes the first time)"
    cargo build --locked --bin millrace --bin millrace-agent --bin rtsp-camera
    bin="${CARGO_TARGET_DIR:-target}/debug"

    prepare
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_server
    start_cameras
    start_agent
    if [ -n "$CHECK" ]; then
        check
    else
        count
    fi
}

prepare() {
    if [ -n "$CHECK" ]; then
        data="${DATA:-$(mktemp -d "${TMPDIR:-/tmp}/millrace-demo.XXXXXX")}"
        http_port="${HTTP_PORT:-$(free_port)}"
        quic_port="${QUIC_PORT:-$(free_port)}"
    else
        data="${DATA:-millrace-demo-data}"
        http_port="${HTTP_PORT:-8080}"
        quic_port="${QUIC_PORT:-8443}"
        if in_use "$http_port"; then
            say "port $http_port is taken: choose another, as in 'HTTP_PORT=8090 make demo'"
            exit 1
        fi
    fi
    mkdir -p "$data/log"
    children=()
}

start_server() {
    "$bin/millrace" --data "$data/server" serve --http "127.0.0.1:$http_port" --quic "127.0.0.1:$quic_port" \
        >"$data/log/server.log" 2>&1 &
    children+=($!)
    server=$!
    local i
    for i in $(seq 100); do
        curl -fsS -o /dev/null "http://127.0.0.1:$http_port/healthz" 2>/dev/null && break
        alive "$server" server
        sleep 0.2
    done
    watch="http://127.0.0.1:$http_port/?key=$(cat "$data/server/console.key")"
}

start_cameras() {
    sources=""
    local camera stream port
    for camera in "${CAMERAS[@]}"; do
        stream="${camera%%=*}"
        port="$(free_port)"
        "$bin/rtsp-camera" --clip "samples/clips/${camera#*=}" --port "$port" </dev/null >"$data/log/$stream.log" 2>&1 &
        children+=($!)
        sources+="
[[camera]]
stream = \"$stream\"
url = \"rtsp://127.0.0.1:$port/cam\"
transport = \"tcp\"
"
    done
}

start_agent() {
    # A token is used up by the first contact; from then on the agent has a certificate in its state folder.
    if [ ! -s "$data/token" ]; then
        "$bin/millrace" --data "$data/server" device add demo | grep -o 'mrj1_[A-Za-z0-9_-]*' | head -n 1 >"$data/token"
    fi
    cat >"$data/agent.toml" <<TOML
state = "$(cd "$data" && pwd)/agent"

[server]
address = "127.0.0.1:$quic_port"
token = "$(cat "$data/token")"
$sources
TOML
    "$bin/millrace-agent" run --config "$data/agent.toml" >"$data/log/agent.log" 2>&1 &
    children+=($!)
    agent=$!
}

check() {
    echo "demo: watching in Chromium"
    if node e2e/browser/check-demo.mjs "$watch" "$WATCHED"; then
        echo "demo: both cameras play"
    else
        say "not every camera plays. The last words of the agent and of the server:"
        tail -n 20 "$data/log/agent.log" "$data/log/server.log" >&2
        exit 1
    fi
}

count() {
    echo
    echo "    Watch: $watch"
    echo
    echo "demo: data and logs are in $data; Ctrl-C ends it"
    local metrics fragments bytes
    while true; do
        alive "$server" server
        alive "$agent" agent
        metrics="$(curl -fsS "http://127.0.0.1:$http_port/metrics" 2>/dev/null || true)"
        fragments="$(total millrace_fragments_persisted_total <<<"$metrics")"
        bytes="$(total millrace_bytes_persisted_total <<<"$metrics")"
        printf '\rdemo: %6d fragments persisted, %8.1f MB, %3d waiting in the spool ' \
            "$fragments" "$(awk "BEGIN { print $bytes / 1e6 }")" "$(spooled)"
        sleep 1
    done
}

# The sum of a counter over all its labels.
total() {
    awk -v name="$1" 'index($1, name) == 1 { sum += $NF } END { printf "%d", sum }'
}

spooled() {
    find "$data/agent/spool" -name '*.frag' 2>/dev/null | wc -l
}

alive() {
    kill -0 "$1" 2>/dev/null && return
    say "the $2 has ended. Its last words:"
    tail -n 20 "$data/log/$2.log" >&2
    exit 1
}

stop() {
    local child
    for child in ${children[@]+"${children[@]}"}; do
        kill "$child" 2>/dev/null || true
    done
    # Ten seconds to stop in order, then by force.
    local i
    for i in $(seq 100); do
        any_alive || break
        sleep 0.1
    done
    for child in ${children[@]+"${children[@]}"}; do
        kill -9 "$child" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    if [ -n "$CHECK" ] && [ -z "${DATA:-}" ]; then
        rm -rf "$data"
    fi
    echo
}

any_alive() {
    local child
    for child in ${children[@]+"${children[@]}"}; do
        kill -0 "$child" 2>/dev/null && return 0
    done
    return 1
}

in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port that nobody listens on just now.
free_port() {
    local port
    while true; do
        port=$((20000 + RANDOM % 12000))
        in_use "$port" || { echo "$port"; return; }
    done
}

say() { echo "demo: $*" >&2; }

main
