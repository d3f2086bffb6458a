#!/usr/bin/env bash
# quarry net check: what it says of this machine and of made-up ones, its exit codes, and that it needs no privilege.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

put() { # FILE TEXT...
  mkdir -p "$dir/host$(dirname "$1")"
  printf '%s\n' "${@:2}" > "$dir/host$1"
}

expect 0 'this host can do' "$bin/quarry" help net
expect 2 'usage: quarry net check|emulate' "$bin/quarry" net
expect 2 'usage: quarry net check|emulate' "$bin/quarry" net look

# This machine, whatever it is: both forms say the same, as root and as nobody.
rc=0
"$bin/quarry" net check > "$dir/text" || rc=$?
[ $rc -le 1 ] || fail "net check ended with $rc"
grep -q '^ways to the network' "$dir/text" || fail "no ways: $(cat "$dir/text")"
json_rc=0
"$bin/quarry" net check --json > "$dir/json" || json_rc=$?
[ $json_rc = $rc ] || fail "--json ends with $json_rc instead of $rc"
[ "$(field ready < "$dir/json")" = "$([ $rc = 0 ] && echo true || echo false)" ] || fail "ready: $(cat "$dir/json")"
if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --clear-groups --inh-caps=-all "$bin/quarry" help net > /dev/null 2>&1; then
  expect 1 'lacks CAP_NET_RAW' setpriv --reuid=65534 --clear-groups --inh-caps=-all "$bin/quarry" net check
  expect 1 'setcap cap_net_raw+ep' setpriv --reuid=65534 --clear-groups --inh-caps=-all "$bin/quarry" net check \
    --options iface=lo
fi

# A made-up host, whose user may do all.
put /proc/net/dev 'h|' '    lo: 0' '  lan0: 0'
put /sys/class/net/lan0/flags 0x1002
put /sys/class/net/lan0/operstate down
put /proc/self/status 'Uid: 0 0 0 0' 'CapEff:	000001ffffffffff'
put /proc/self/uid_map '0 0 4294967295'
check() { "$bin/quarry" net check --root "$dir/host" "$@"; }
expect 1 'ip link set lan0 up' check --options 'iface=lan0;prefix=16'
put /sys/class/net/lan0/flags 0x1003
expect 0 "can start" check --options iface=lan0
expect 1 "there is no interface 'lan1' here" check --options iface=lan1
expect 1 'there is no network card at 0000:03:00.0' check --options 'pci=0000:03:00.0;huge=1'
expect 1 'name no port' check --options prefix=24
expect 1 '"error"' check --options 'iface=a;xdp=b' --json

# A node's own settings.
printf '[link]\ndriver = dpdk\noptions = iface=lan0\n' > "$dir/ini"
expect 0 'link: dpdk, iface=lan0' check --config "$dir/ini"
expect 1 "'lan9'" check --config "$dir/ini" --options iface=lan9
printf '[link]\ndriver = none\n' > "$dir/ini"
expect 0 'link: none' check --config "$dir/ini"
printf '[link]\nspeed = 9\n' > "$dir/ini"
expect 1 "unknown key 'speed'" check --config "$dir/ini"
expect 1 'No such file' check --config "$dir/none"
echo "ok: $checks checks"
