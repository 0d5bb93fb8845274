#!/bin/bash
# All tests, in stages with a bound each. Tests that lack root, a server or a kernel feature say `skipped: why`; they are
# counted at the end, never silently passed.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
running=
# `timeout` has a process group of its own, which Ctrl-C does not reach by itself.
stop() {
  [ -z "$running" ] || { kill -TERM "$running" 2>/dev/null; wait "$running"; }
  echo "== stopped"
  exit 130
}
trap stop INT TERM HUP
trap 'rm -f "$log"' EXIT
stage() { # name, seconds, command...
  local name=$1 bound=$2 out tee status; shift 2
  echo "== $name"
  exec {out}> >(trap '' INT; exec tee -a "$log")
  tee=$!
  # With job control, or what runs in the background would be born deaf to SIGINT, and programs under test with it.
  set -m
  timeout --kill-after=10 "$bound" "$@" >&"$out" 2>&1 </dev/null &
  running=$!
  set +m
  exec {out}>&-
  wait $running
  status=$?
  running=
  # What is counted at the end must be in the log.
  wait $tee
  case $status in
    0) ;;
    124 | 137) echo "== $name took longer than $bound s"; failed=1 ;;
    *) echo "== $name failed"; failed=1 ;;
  esac
}
failed=0
if [ "$(id -u)" != 0 ]; then
  echo "== as $(id -un): what needs root (kernel hooks, namespaces, a live hub) is skipped and said at the end"
fi
echo "== lint, interface, build, tests: 10 minutes and more from a clean clone on two processors, most of it compiling"
stage "lint" 1200 tools/lint.sh
stage "interface" 300 tools/ui.sh test
stage "build" 1200 cargo build --workspace --locked
stage "unit, property and live tests" 1200 cargo test --workspace --locked --no-fail-fast -- --show-output
sum() { # word that stands behind the number
  grep -oE '^test result: [a-zA-Z]+\. [0-9]+ passed; [0-9]+ failed' "$log" | grep -oE "[0-9]+ $1" | awk '{s+=$1} END {print s+0}'
}
passed=$(sum passed)
broken=$(sum failed)
skipped=$(grep -cE '^(test .*)?skipped: ' "$log")
if [ "$skipped" -gt 0 ]; then
  echo "== skipped on this machine"
  grep -E '^(test .*)?skipped: ' "$log" | sort | uniq -c
fi
if [ "$broken" -gt 0 ]; then
  echo "== failed"
  sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log"
fi
[ "$failed" = 0 ] || [ "$broken" -gt 0 ] || broken=1
echo "$passed passed, $broken failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$broken" = 0 ]
