#!/bin/bash
# Installs what a target needs from Debian's packages, and says what it does. Without root it names what is missing.
set -euo pipefail
what=${1:-build}
build=(clang llvm libelf-dev zlib1g-dev make gcc g++ pkg-config ca-certificates)
demo=(redis-server iproute2 iptables ethtool util-linux e2fsprogs)
test=("${demo[@]}" redis-tools fio stress-ng chromium prometheus bpftool)
case $what in
  build) packages=("${build[@]}") ;;
  demo) packages=("${demo[@]}") ;;
  test) packages=("${build[@]}" "${test[@]}") ;;
  bench) packages=("${build[@]}" "${demo[@]}" redis-tools prometheus victoria-metrics) ;;
  kernels) packages=(qemu-system-x86 busybox-static cpio kmod xz-utils e2fsprogs iproute2 util-linux redis-server redis-tools bpftool) ;;
  *) echo "setup: no set-up called $what" >&2; exit 2 ;;
esac
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "setup: these packages are missing; install them and try again:" >&2
    echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  # Services that packages bring are not wanted: tests start their own on free ports.
  policy=/usr/sbin/policy-rc.d
  own_policy=0
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' > $policy && chmod +x $policy && own_policy=1
  fi
  trap '[ $own_policy = 1 ] && rm -f $policy' EXIT
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
for tool in cargo node npm; do
  command -v $tool >/dev/null || { echo "setup: $tool is missing; install Rust 1.95 or newer and Node 20 or newer first" >&2; exit 1; }
done
