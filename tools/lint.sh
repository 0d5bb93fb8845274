#!/bin/bash
# Formatting and lints of everything, warnings being errors.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
tools/ui.sh build
cargo clippy --workspace --all-targets --locked -- -D warnings
tools/ui.sh lint
