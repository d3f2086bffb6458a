#!/usr/bin/env bash
# Nodes that live long: five on lossy lines, of which two mine and one is never touched; others are killed and started again, are cut
# off, and strangers of every kind come and go. At the end all have one chain, and the untouched nodes hold no more memory, packet
# buffers or descriptors than half-way. QUARRY_SOAK_MINUTES (1) is its length; growth is judged from ten minutes on, for
# caches and tables fill at first. The order of events comes from a seed that is printed; SEED=n repeats it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
nodes=5
export QUARRY_SOAK_MINUTES=${QUARRY_SOAK_MINUTES:-1} SEED=${SEED:-$(($(date +%s) % 32768))}

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=$nodes
  echo "seed $SEED"
  "$1/quarry" genesis regtest --task microgrid | sed 's/"max_target": .*/"max_target": "0x20010000",/' > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

RANDOM=$SEED
q() { local i=$1; shift; "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$i" --json "$@" 2> /dev/null; }
status() { q "$1" status | field "$2"; }
reached() { local h; h=$(status "$1" height); [ "${h:-0}" -ge "$2" ]; }
trouble() { tail -n 8 "$DEVNET_DIR"/n?.log "$DEVNET_DIR"/strangers 2> /dev/null; [ ! -f "$DEVNET_DIR/figures" ] || tail -n 60 "$DEVNET_DIR/figures"; fail "$*"; }
if ! mount -t proc proc /proc 2> /dev/null; then
  echo "skipped: this system lets $(id -un) mount no /proc of a namespace of its own"
  exit 77
fi

start() { # with small tables and caches, which fill early: what grows then is neither
  local flags=(--link.options "iface=n$1;prefix=12;telemetry=1;window_kib=256;send_kib=256" --link.peer_max=16
    --store.reserve_mb=0 --store.options cache_mb=1)
  [ "$1" = 0 ] || [ "$1" = 2 ] || flags+=(--no-mine)
  devnet_start "$1" "${flags[@]}"
}

# ---- the network ----
devnet_lines $((nodes + 1)) '* delay=2ms jitter=1ms loss=0.3%' "$SEED" || trouble "no lines"
unshare --net sleep $((QUARRY_SOAK_MINUTES * 60 + 900)) &
host=$!
apart() { [ "$(readlink /proc/$host/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; }
until_true 5 apart || trouble "the strangers have no host"
ip link set n$nodes netns $host
nsenter -t $host -n ip addr add 10.80.9.9/12 dev n$nodes
nsenter -t $host -n ip link set lo up
nsenter -t $host -n ip link set n$nodes up
nsenter -t $host -n ip route add local 10.81.0.0/16 dev lo
for ((i = 0; i < nodes; i++)); do start $i; done
for ((i = 0; i < nodes; i++)); do until_true 90 reached $i 1 || trouble "n$i does not begin"; done

# ---- what is watched: seconds node rss_kb descriptors buffers_free height peers ----
began=$SECONDS
watched=(0 1)
look() {
  local i pid telemetry
  for i in "${watched[@]}"; do
    pid=${DEVNET_PID[$i]}
    devnet_running "$i" || trouble "n$i is dead"
    telemetry=$(grep -o 'event=telemetry socket=.*' "$DEVNET_DIR/n$i.log" | tail -n 1 | sed 's/.*socket=//')
    echo "$((SECONDS - began)) $i $(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status")" \
      "$(ls -l "/proc/$pid/fd" 2> /dev/null | grep -cv -e "$DEVNET_DIR/n$i/store" -e io_uring)" \
      "$("$DEVNET_BIN/telemetry_ask" "$telemetry" /quarry/link | field buffers_free)" "$(status "$i" height)" \
      "$(q "$i" peers | grep -o '"addr"' | wc -l)" >> "$DEVNET_DIR/figures"
  done
}

# ---- what happens ----
modes=(light light churn silent garbage malformed truncated replay flood slow liar addrs oversize halfopen)
events=0 strangers=""
stranger() {
  [ -z "$strangers" ] || ! kill -0 "$strangers" 2> /dev/null || return 0
  [ -z "$strangers" ] || wait "$strangers" || trouble "strangers ended badly"
  nsenter -t $host -n "$DEVNET_BIN/peer_hostile" "$DEVNET_DIR/genesis.json" "10.80.0.$((10 + RANDOM % 2))" \
    "${modes[RANDOM % ${#modes[@]}]}" $((1 + RANDOM % 12)) $((3 + RANDOM % 10)) "10.81.$((RANDOM % 200)).$((1 + RANDOM % 40))" \
    $((events * 40000 + RANDOM)) >> "$DEVNET_DIR/strangers" 2>&1 &
  strangers=$!
}
churn() { # of nodes 2 .. 4
  local i=$((2 + RANDOM % 3))
  case $((RANDOM % 4)) in
    0) kill -KILL "${DEVNET_PID[$i]}"; devnet_reap $i || true; sleep $((RANDOM % 3)); start $i ;;
    1) kill -TERM "${DEVNET_PID[$i]}"; devnet_reap $i || trouble "n$i ended badly"; sleep $((RANDOM % 2)); start $i ;;
    2) devnet_fate "set s$i group=$((RANDOM % 2))" || trouble "no cut" ;;
    3) devnet_fate 'set * group=0' || trouble "no healing" ;;
  esac
}
while [ $((SECONDS - began)) -lt $((QUARRY_SOAK_MINUTES * 60)) ]; do
  stranger
  [ $((RANDOM % 2)) = 0 ] || churn
  sleep $((1 + RANDOM % 3))
  look
  events=$((events + 1))
done
[ -z "$strangers" ] || wait "$strangers" || trouble "strangers ended badly"

# ---- the end: one chain ----
devnet_fate 'set * group=0' || trouble "no healing"
dirs=""
for ((i = 0; i < nodes; i++)); do
  devnet_running $i || trouble "n$i is dead"
  dirs+=${dirs:+,}$DEVNET_DIR/n$i
done
rc=0
"$DEVNET_BIN/quarry" watch --nodes "$dirs" --blocks $(($(status 0 height) + 2)) --timeout 240 --json > "$DEVNET_DIR/watch.out" || rc=$?
last=$(tail -n 1 "$DEVNET_DIR/watch.out")
[ "$rc" = 0 ] && [ "$(field agree <<< "$last")" = true ] || { tail -n 20 "$DEVNET_DIR/watch.out"; trouble "the nodes do not agree: $last"; }
for i in "${watched[@]}"; do
  [ "$(status $i blocks_rejected)" = 0 ] || trouble "n$i rejected blocks"
done
devnet_stop || trouble "a node ended badly"
devnet_lines_stop || trouble "the switch ended badly"

# ---- growth: the most of the last quarter beside the most of the second ----
[ -z "${QUARRY_SOAK_FIGURES:-}" ] || cp "$DEVNET_DIR/figures" "$QUARRY_SOAK_FIGURES"
awk -v minutes="$QUARRY_SOAK_MINUTES" -v events=$events -v height="$(field height <<< "$last")" '
  { n = $2; seen[n] = 1; t = $1 / (60 * minutes); k = t < 0.25 ? 0 : t < 0.5 ? 1 : t < 0.75 ? 2 : 3
    if ($3 > rss[n, k]) rss[n, k] = $3
    if ($4 > fds[n, k]) fds[n, k] = $4
    if (!((n, k) in free) || $5 < free[n, k]) free[n, k] = $5 }
  END {
    for (n in seen) {
      printf "test_soak: %d min, %d events, height %d: n%d at most %d kB in the second quarter, %d in the last; descriptors %d, %d; packet buffers free at least %d, %d\n",
        minutes, events, height, n, rss[n, 1], rss[n, 3], fds[n, 1], fds[n, 3], free[n, 1], free[n, 3]
      if (free[n, 3] + 0 < 4096) { print "FAILED: packet buffers of n" n " are lost"; bad = 1 }
      if (fds[n, 3] > fds[n, 1] + 3) { print "FAILED: descriptors of n" n " grow"; bad = 1 }
      if (minutes >= 10 && rss[n, 3] > rss[n, 1] * 1.1 + 8192) { print "FAILED: memory of n" n " grows"; bad = 1 }
      if (minutes >= 10 && free[n, 3] < free[n, 1] - 256) { print "FAILED: packet buffers of n" n " are lost"; bad = 1 }
    }
    exit bad
  }' "$DEVNET_DIR/figures" || trouble "a node grows"
echo "test_soak: passed"
