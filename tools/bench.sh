#!/bin/bash
# What things cost: each figure beside its floor and aim. Needs root for the kernel programs' part.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== store"
cargo bench --locked -p gala-store --bench store
echo "== exposition"
cargo run --release --locked -q -p gala-agent --example exposition_cost
if [ "$(id -u)" = 0 ] && command -v redis-benchmark >/dev/null; then
  echo "== requests of Redis"
  cargo run --release --locked -q -p gala-agent --example sli_cost
else
  echo "skipped: the cost of following Redis needs root and redis-benchmark"
fi
