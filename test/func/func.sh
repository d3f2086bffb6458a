# Shared by the functional tests: expectations on commands, JSON fields, waiting with an end. bash.

checks=0

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect CODE TEXT COMMAND...: the command exits with CODE and says TEXT (a fixed string) on stdout or stderr.
expect() {
  local code=$1 text=$2 rc=0
  shift 2
  said=$("$@" 2>&1) || rc=$?
  [ "$rc" = "$code" ] || fail "'$*' ended with $rc instead of $code: $said"
  [[ $said == *"$text"* ]] || fail "'$*' does not say '$text': $said"
  checks=$((checks + 1))
}

# First value of a key in one line of JSON on stdin.
field() { grep -oE "\"$1\":(\"[^\"]*\"|[^],}]*)" | head -n 1 | sed -E 's/^"[^"]*"://; s/^"(.*)"$/\1/'; }

# until SECONDS COMMAND...: tries until it succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}
