#!/bin/bash
# All tests, in stages with a bound each. Tests that lack root, a server or a kernel feature say `skipped: why`; they are
# counted at the end, never silently passed.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
stage() { # name, seconds, command...
  local name=$1 bound=$2; shift 2
  echo "== $name"
  if ! timeout --kill-after=10 "$bound" "$@" 2>&1 | tee -a "$log"; then
    echo "== $name failed"
    failed=1
  fi
}
failed=0
stage "lint" 900 tools/lint.sh
stage "interface" 300 tools/ui.sh test
stage "build" 900 cargo build --workspace --locked
stage "unit, property and live tests" 900 cargo test --workspace --locked --no-fail-fast -- --show-output
passed=$(grep -oE '^test result: [a-zA-Z]+\. [0-9]+ passed; [0-9]+ failed' "$log" | awk '{p+=$4} END {print p+0}')
broken=$(grep -oE '^test result: [a-zA-Z]+\. [0-9]+ passed; [0-9]+ failed' "$log" | awk '{f+=$6} END {print f+0}')
skipped=$(grep -cE '^(test .*)?skipped: ' "$log")
if [ "$skipped" -gt 0 ]; then
  echo "== skipped on this machine"
  grep -E '^(test .*)?skipped: ' "$log" | sort | uniq -c
fi
[ "$failed" = 0 ] || [ "$broken" -gt 0 ] || broken=1
echo "$passed passed, $broken failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$broken" = 0 ]
