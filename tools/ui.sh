#!/bin/bash
# Installs the interface's modules from the lock file when they changed, and builds, tests or lints it.
set -euo pipefail
cd "$(dirname "$0")/../ui"
stamp=node_modules/.installed
if [ ! -f $stamp ] || [ package-lock.json -nt $stamp ]; then
  echo "ui: installing modules from package-lock.json"
  npm ci --no-audit --no-fund --loglevel=error || {
    echo "ui: npm could not install them; is there a network (a proxy: export https_proxy)?" >&2
    exit 1
  }
  touch $stamp
fi
case ${1:-build} in
  build)
    newest=$(find src public index.html package.json package-lock.json tsconfig.json vite.config.ts -newer dist/index.html -print -quit 2>/dev/null || echo none)
    if [ ! -f dist/index.html ] || [ -n "$newest" ]; then npm run --silent build; fi ;;
  test) npm run --silent test ;;
  lint) npm run --silent lint ;;
esac
