# A network of quarry nodes on one machine, inside a namespace of its own: nothing of it is seen outside, and when the
# namespace ends, the kernel ends every process in it. For tools/run and the functional tests; bash.
#
#   . tools/lib/devnet.sh
#   [ -n "${DEVNET_INSIDE:-}" ] || { devnet_enter "$0" "$@"; exit $?; }    # the rest runs inside
#   devnet_net 3                     # bridge and ports n0..n2
#   devnet_start 0 --no-mine         # one quarryd on port n0, data in $DEVNET_DIR/n0, log in $DEVNET_DIR/n0.log
#
# Settings: DEVNET_BIN (folder of quarryd and quarry), DEVNET_DIR (data; has genesis.json), DEVNET_COUNT (nodes to dial).
# A node's own address is 10.80.0.(10 + number).

declare -A DEVNET_PID

# Why this system cannot have a namespace of the kind asked for, or nothing if it can.
devnet_missing() {
  local out
  out=$(unshare "${DEVNET_UNSHARE[@]}" true 2>&1) && return
  if [ "$(id -u)" = 0 ]; then
    echo "this system lets root make no network namespace ($out); in a container, give it the SYS_ADMIN and NET_ADMIN capabilities"
  else
    echo "this system lets ordinary users make no namespaces ($out); run as root, or: sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000"
  fi
}

DEVNET_UNSHARE=(--net --pid --mount --fork --kill-child)
[ "$(id -u)" = 0 ] || DEVNET_UNSHARE+=(--user --map-root-user)

# Runs a script inside and returns its exit code, or 77 if this system has no namespaces for us. The script's standard input is
# a pipe of which only this shell has the other end: Ctrl-C and SIGTERM send a line through it, and when this shell is gone,
# however it went, the pipe ends. Either makes the script end its network.
devnet_enter() {
  local why child pipe rc
  why=$(devnet_missing)
  if [ -n "$why" ]; then
    echo "$(basename "$1"): $why" >&2
    return 77
  fi
  pipe=$(mktemp -u /tmp/quarry-pipe.XXXXXX)
  mkfifo -m 600 "$pipe"
  exec {DEVNET_PIPE}<> "$pipe"
  rm -f "$pipe"
  DEVNET_INSIDE=1 setsid --wait unshare "${DEVNET_UNSHARE[@]}" bash "$@" < "/proc/$$/fd/$DEVNET_PIPE" {DEVNET_PIPE}>&- &
  child=$!
  trap 'echo end >&"$DEVNET_PIPE"' INT TERM HUP
  while :; do
    rc=0
    wait "$child" || rc=$?
    [ -d "/proc/$child" ] || break # else a signal ended the wait, not the child
  done
  trap - INT TERM HUP
  exec {DEVNET_PIPE}>&-
  return "$rc"
}

# ---- inside ----

# The bridge and ports n0 .. n(count-1).
devnet_net() {
  local i
  # The link driver keeps files of its own under /run; an ordinary user may not write there, and nobody else needs to see them.
  mount -t tmpfs tmpfs /run 2> /dev/null || true
  unset XDG_RUNTIME_DIR
  ip link set lo up
  if ! ip link add br0 type bridge forward_delay 0; then
    echo "devnet: this kernel has no bridge; load it with: sudo modprobe bridge veth" >&2
    return 1
  fi
  ip link set br0 up
  for ((i = 0; i < $1; i++)); do devnet_port "$i"; done
}

# The same without a bridge: ports n0 .. n(count-1) on a switch whose lines are bad as $2 says ("* delay=10ms loss=1%"; see
# quarry net emulate --help). devnet_fate changes that, devnet_lines_stop ends the switch; its figures are the last line of
# $DEVNET_DIR/lines.
devnet_lines() {
  local i ports=s0
  mount -t tmpfs tmpfs /run 2> /dev/null || true
  unset XDG_RUNTIME_DIR
  ip link set lo up
  for ((i = 0; i < $1; i++)); do
    devnet_veth "$i" && ip link set "s$i" up || return 1
    [ "$i" = 0 ] || ports+=",s$i"
  done
  rm -f "$DEVNET_DIR/fate" "$DEVNET_DIR/lines"
  mkfifo "$DEVNET_DIR/fate"
  exec {DEVNET_FATE}<> "$DEVNET_DIR/fate"
  "$DEVNET_BIN/quarry" net emulate --ports "$ports" --set "$2" --seed "${3:-1}" <&"$DEVNET_FATE" > "$DEVNET_DIR/lines" 2>&1 &
  DEVNET_LINES=$!
  for ((i = 0; i < 100; i++)); do
    grep -q ready "$DEVNET_DIR/lines" && return
    sleep 0.1
  done
  cat "$DEVNET_DIR/lines" >&2
  return 1
}

# A command to the switch; returns when it has obeyed.
devnet_fate() {
  local i before
  before=$(wc -l < "$DEVNET_DIR/lines")
  echo "$1" >&"$DEVNET_FATE"
  for ((i = 0; i < 100; i++)); do
    [ "$(wc -l < "$DEVNET_DIR/lines")" -gt "$before" ] && break
    sleep 0.05
  done
  ! tail -n 1 "$DEVNET_DIR/lines" | grep -q '^error'
}

devnet_lines_stop() {
  kill -TERM "$DEVNET_LINES"
  wait "$DEVNET_LINES"
}

devnet_port() {
  devnet_veth "$1"
  ip link set "s$1" master br0 up
}

devnet_veth() {
  ip link add "n$1" type veth peer name "s$1"
  ip link set "n$1" up
}

# Starts node $1 with further flags; its log goes on in $DEVNET_DIR/n$1.log.
devnet_start() {
  local i=$1 j peers=()
  shift
  for ((j = 0; j < DEVNET_COUNT; j++)); do
    [ "$j" = "$i" ] || peers+=(--peer "10.80.0.$((10 + j))")
  done
  "$DEVNET_BIN/quarryd" --dir "$DEVNET_DIR/n$i" --genesis "$DEVNET_DIR/genesis.json" --link dpdk --link.options "iface=n$i" \
    --listen "10.80.0.$((10 + i))" "${peers[@]}" "$@" < /dev/null >> "$DEVNET_DIR/n$i.log" 2>&1 &
  DEVNET_PID[$i]=$!
}

devnet_running() { [ -n "${DEVNET_PID[$1]:-}" ] && kill -0 "${DEVNET_PID[$1]}" 2> /dev/null; }

# Waits for node $1 and forgets it; returns its exit code.
devnet_reap() {
  local rc=0
  wait "${DEVNET_PID[$1]}" 2> /dev/null || rc=$?
  unset "DEVNET_PID[$1]"
  return "$rc"
}

# Ends all nodes in good order, after ten seconds with SIGKILL. Returns 1 if one of them did not end by itself with code 0.
devnet_stop() {
  local i tries rc=0
  for i in "${!DEVNET_PID[@]}"; do kill -TERM "${DEVNET_PID[$i]}" 2> /dev/null || true; done
  for i in "${!DEVNET_PID[@]}"; do
    for ((tries = 0; tries < 100; tries++)); do
      devnet_running "$i" || break
      sleep 0.1
    done
    kill -KILL "${DEVNET_PID[$i]}" 2> /dev/null && echo "devnet: n$i had to be killed, see $DEVNET_DIR/n$i.log" >&2
    if ! devnet_reap "$i"; then
      echo "devnet: n$i ended badly, see $DEVNET_DIR/n$i.log" >&2
      rc=1
    fi
  done
  return "$rc"
}

if [ -n "${DEVNET_INSIDE:-}" ]; then
  trap 'exit 143' TERM
  exec {DEVNET_END}<&0 0< /dev/null
  (read -r _ <&"$DEVNET_END" || true; kill -TERM $$) &
  exec {DEVNET_END}<&-
fi
