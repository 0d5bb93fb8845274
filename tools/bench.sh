#!/bin/bash
# What things cost, each figure beside its floor and aim: `tools/bench.sh [idle] [redis] [store]`, all three by default (about
# ten minutes). Fails when a floor does not hold. BENCH_SHORT=1 only shows that it works. Measure on a quiet machine: others'
# load is kept out as far as minima and CPU clocks can, and said where it was more than a tenth of a processor.
#
# idle   start, the agent alone, beside 500 more processes, all in one, a large scrape       needs root
# redis  watching 30,000 requests a second, each counted, and what a round trip gets longer  needs root, redis-server
# store  remote write, size, kill -9, queries, and Prometheus and VictoriaMetrics where they are installed
set -euo pipefail
cd "$(dirname "$0")/.."
parts=("$@")
[ $# -gt 0 ] || parts=(idle redis store)
for part in "${parts[@]}"; do
  case $part in
    idle | redis | store) ;;
    *) echo "bench: no part called $part; known are idle, redis and store" >&2; exit 2 ;;
  esac
done
[ -x "${GALA:-target/release/gala}" ] || { echo "bench: ${GALA:-target/release/gala} is missing; make build makes it" >&2; exit 1; }
# Whatever ends this, the folders of what is measured go too.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM HUP
log=$TMPDIR/log
touch "$log"
broken=0
run() { # command...: its figures go to the terminal and the log
  "$@" 2>&1 | tee -a "$log" || broken=$((broken + 1))
}
# others BUSY OURS SECONDS: sets `others` to what programs besides ours took, in hundredths of one processor.
others() {
  others=$((($1 - $2) / ($3 > 0 ? $3 : 1)))
  [ $others -ge 0 ] || others=0
}
busy() { # hundredths of a second that programs and the hypervisor took so far; interrupts are nobody's
  awk -v hz="$(getconf CLK_TCK)" '/^cpu / {printf "%.0f\n", ($2 + $3 + $4 + $9) * 100 / hz}' /proc/stat
}
ours() { # the same of what this script started and has waited for
  awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); printf "%.0f\n", ($14 + $15) * 100 / hz}' /proc/$$/stat
}
example() { run cargo run --release --locked -q -p gala-agent --example "$@"; }
# Built before anything is measured.
for part in "${parts[@]}"; do
  case $part in
    idle) cargo build --release --locked -q -p gala-agent --example idle_cost --example exposition_cost ;;
    redis) cargo build --release --locked -q -p gala-agent --example redis_cost --example roundtrip_cost ;;
    store) cargo bench --locked -q --no-run -p gala-store ;;
  esac
done
started=$SECONDS
short=${BENCH_SHORT:-0}
[ "$short" != 0 ] && [ -n "$short" ] && expected="a minute or two, and figures that mean little" || expected="some $((3 * ${#parts[@]} + 1)) minutes"
echo "bench: ${parts[*]}: $expected; each figure with its floor, which must hold, and its aim, which peers do not reach together"
echo "gala $("${GALA:-target/release/gala}" --version | cut -d' ' -f2-), Linux $(uname -r), $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
before=$(busy)
sleep 3
others $(($(busy) - before)) 0 3
# From here on it moves figures; a machine at rest has a hundredth or two, and the kernel's own threads work for what is measured.
loud=10
noisy=()
note_others() { # where
  [ "$others" -lt $loud ] || { noisy+=("$1: $others %"); echo "NOT QUIET: other programs took $others % of a processor ($1)"; }
}
note_others "before the start"
for part in "${parts[@]}"; do
  printf '\n== %s\n' "$part"
  busy_before=$(busy) ours_before=$(ours) seconds_before=$SECONDS
  if [ "$part" != store ] && [ "$(id -u)" != 0 ]; then
    run echo "skipped: the part $part needs root for the kernel's programs"
    continue
  fi
  case $part in
    idle)
      example idle_cost
      printf '\n-- a scrape of 100,000 series\n'
      example exposition_cost -- 100000 ;;
    redis)
      if command -v redis-server >/dev/null; then
        example redis_cost
        example roundtrip_cost
      else
        run echo "skipped: the part redis needs redis-server"
      fi ;;
    store)
      run cargo bench --locked -q -p gala-store --bench store
      run cargo bench --locked -q -p gala-store --bench peers ;;
  esac
  others $(($(busy) - busy_before)) $(($(ours) - ours_before)) $((SECONDS - seconds_before))
  note_others "$part"
done
count() { grep -cE "$1" "$log" || true; }
failed=$(count ' FAIL$')
printf '\n%s figures: %s reach their aim, %s hold their floor only, %s FAIL; %s skipped, %s broke off; %s s\n' \
  "$(count ' floor .* aim ')" "$(count ' pass, aim met$')" "$(count ' pass$')" "$failed" "$(count 'skipped: ')" "$broken" "$((SECONDS - started))"
if [ ${#noisy[@]} -gt 0 ]; then
  printf 'the machine was not quiet, so figures are worse than they would be; others took of a processor:'
  printf ' %s;' "${noisy[@]}"
  echo
fi
if [ "$failed" -gt 0 ]; then grep -E ' FAIL$' "$log"; fi
[ "$failed" = 0 ] && [ "$broken" = 0 ]
