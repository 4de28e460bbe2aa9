#!/bin/sh
# Inside a container that has booted: what the units promise, seen by systemd. Started by boot.sh.
set -eu
exec >/probe/log 2>&1

say() { echo "== $*"; }
fail() { say "$*"; systemctl --no-pager --full status millrace millrace-agent || true; exit 1; }
shows() { systemctl show --property "$2" --value "$1"; }
# wait_for UNIT PROPERTY PATTERN
wait_for() {
    tries=0
    until shows "$1" "$2" | grep -q "$3"; do
        tries=$((tries + 1))
        [ $tries -lt 120 ] || fail "$1: $2 is '$(shows "$1" "$2")', not $3"
        sleep 1
    done
}
# Ends a service's process without its doing, as a hang would.
hang() {
    kill -STOP "$(shows "$1" MainPID)"
    wait_for "$1" NRestarts 1
    wait_for "$1" ActiveState '^active'
    journalctl --unit "$1" | grep -q "Watchdog timeout" || fail "it was not the watchdog"
}

say "installing; watchdogs are quick here"
for unit in millrace millrace-agent; do
    mkdir -p /etc/systemd/system/$unit.service.d
    printf '[Service]\nWatchdogSec=20\n' >/etc/systemd/system/$unit.service.d/quick.conf
done
apt-get install --yes --no-install-recommends /probe/server.deb /probe/agent.deb
wait_for millrace ActiveState '^active'
wait_for millrace StatusText 'devices on'

say "an agent that has not joined"
wait_for millrace-agent ActiveState '^failed'
wait_for millrace-agent StatusText 'millrace-agent join'
[ "$(shows millrace-agent NRestarts)" = 0 ] || fail "it was started again for nothing"

say "joining"
millrace_as_its_user() { setpriv --reuid=millrace --regid=millrace --clear-groups millrace --data /var/lib/millrace "$@"; }
token=$(millrace_as_its_user device add probe | grep -om1 'mrj1_[A-Za-z0-9_-]*')
millrace-agent join --server 127.0.0.1:8443 "$token"
printf '[[camera]]\nstream = "probe"\ntest_pattern = true\nfragment_seconds = 1.0\n' >>/etc/millrace/agent.toml
systemctl restart millrace-agent
wait_for millrace-agent StatusText 'connected · cameras 1/1 .* persisted [1-9]'

say "hanging"
hang millrace-agent
hang millrace
wait_for millrace-agent StatusText 'connected · cameras 1/1 .* persisted [1-9]'

say "upgrading"
before=$(shows millrace MainPID)
apt-get install --yes --reinstall --no-install-recommends /probe/server.deb /probe/agent.deb
wait_for millrace ActiveState '^active'
[ "$(shows millrace MainPID)" != "$before" ] || fail "the server was not restarted"
wait_for millrace-agent StatusText 'connected · cameras 1/1 .* persisted [1-9]'
millrace_as_its_user stream list | grep -q probe || fail "the upgrade has lost a stream"

say "purging"
apt-get purge --yes millrace millrace-agent | tee /probe/purge
grep -q "Keeping /var/lib/millrace: stored video" /probe/purge || fail "the purge does not say what it keeps"
[ -s /var/lib/millrace/vault/master.keyring ] || fail "the purge has deleted the keys"
[ ! -e /var/lib/millrace-agent/key.pem ] || fail "the purge has left the device's key"
say "all is as the units promise"
