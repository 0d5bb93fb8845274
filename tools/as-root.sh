#!/bin/bash
# Runs a command as root: as it is, or by sudo, which is said.
set -euo pipefail
[ "$(id -u)" != 0 ] || exec "$@"
command -v sudo >/dev/null || { echo "as-root: this needs root, and there is no sudo; as root run: $*" >&2; exit 1; }
echo "as-root: sudo $*"
exec sudo "$@"
