#!/bin/bash
# What things cost, each figure beside its floor and aim: `tools/bench.sh [idle] [redis] [store]`, all three by default (about
# ten minutes). Fails when a floor does not hold. BENCH_SHORT=1 only shows that it works. Measure on a quiet machine: others'
# load is kept out as far as minima and CPU clocks can.
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
log=$TMPDIR/log
touch "$log"
broken=0
run() { # command...: its figures go to the terminal and the log
  "$@" 2>&1 | tee -a "$log" || broken=$((broken + 1))
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
echo "gala $("${GALA:-target/release/gala}" --version | cut -d' ' -f2-), Linux $(uname -r), $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
for part in "${parts[@]}"; do
  printf '\n== %s\n' "$part"
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
done
count() { grep -cE "$1" "$log" || true; }
failed=$(count ' FAIL$')
printf '\n%s figures: %s reach their aim, %s hold their floor only, %s FAIL; %s skipped, %s broke off; %s s\n' \
  "$(count ' floor .* aim ')" "$(count ' pass, aim met$')" "$(count ' pass$')" "$failed" "$(count 'skipped: ')" "$broken" "$((SECONDS - started))"
if [ "$failed" -gt 0 ]; then grep -E ' FAIL$' "$log"; fi
[ "$failed" = 0 ] && [ "$broken" = 0 ]
