#!/bin/sh
# Inside the root: docs/raspberry-pi.md, by hand where a running systemd would do it. Fails at the first thing that
# is not as the page says.
#
#   five-minutes.sh JOIN-OPTIONS...
set -eu

config=/etc/millrace/agent.toml
state=/var/lib/millrace-agent
say() { echo "== $*"; }
fail() { say "$*"; exit 1; }
as_agent() { setpriv --reuid=millrace-agent --regid=millrace-agent --init-groups "$@"; }

say "installing"
apt-get install --yes --no-install-recommends /try/agent.deb
[ "$(stat -c '%U %a' $state)" = "millrace-agent 700" ] || fail "the state folder is not the agent's alone"
[ "$(stat -c '%G %a' $config)" = "millrace-agent 640" ] || fail "the configuration can be read by others"
id -nG millrace-agent | grep -qw video || fail "the agent may not use cameras"
systemd-analyze verify --man=no millrace-agent.service

say "starting before it has joined"
status=0
as_agent millrace-agent run --config $config || status=$?
[ $status = 78 ] || fail "it ended with $status, not 78: systemd would start it again and again"

say "joining"
millrace-agent join "$@"
[ "$(stat -c %U $state/key.pem)" = millrace-agent ] || fail "root has joined for itself"

say "one camera"
printf '[[camera]]\nstream = "run"\nfile = "/try/clip.mp4"\n' >>$config
as_agent millrace-agent check --config $config

say "a file by hand"
as_agent millrace-agent once /try/clip.mp4 --stream once --config $config

say "the service, until all of its camera is stored"
(exec setpriv --reuid=millrace-agent --regid=millrace-agent --init-groups millrace-agent run --config $config) \
    >/tmp/agent.log 2>&1 &
agent=$!
counter() { sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p" $state/status.json | head -n 1; }
stored() {
    grep -q "the file is at its end" /tmp/agent.log && [ "$(counter fragments)" = 0 ] &&
        [ "$(counter persisted)" -gt 0 ] && [ "$(counter spooled)" = "$(counter persisted)" ]
}
tries=0
# The file is played at its own speed.
until stored 2>/dev/null; do
    tries=$((tries + 1))
    kill -0 $agent || fail "the agent has ended: $(cat /tmp/agent.log)"
    [ $tries -lt 600 ] || fail "not stored: $(cat $state/status.json /tmp/agent.log)"
    sleep 1
done
kill $agent
wait $agent || fail "the agent did not stop in order: $(cat /tmp/agent.log)"

say "installing again, as an upgrade does"
mkdir -p $state/spool/yard
echo video >$state/spool/yard/fragment
chown -R millrace-agent: $state/spool
apt-get install --yes --reinstall --no-install-recommends /try/agent.deb
grep -q 'stream = "run"' $config || fail "the upgrade has changed the configuration"
[ -s $state/spool/yard/fragment ] || fail "the upgrade has touched the spool"
[ -s $state/cert.pem ] || fail "the upgrade has touched the certificate"

say "purging with unsent video"
apt-get purge --yes millrace-agent | tee /tmp/purge
grep -q "Keeping .* files of video" /tmp/purge || fail "the purge does not say what it keeps"
[ -s $state/spool/yard/fragment ] || fail "the purge has deleted video"
[ ! -e $state/key.pem ] || fail "the purge has left the key"
[ ! -e $config ] || fail "the purge has left the configuration"

say "all is as the page says"
