#!/bin/bash
# Installs what targets need from Debian's packages, and says what it does: `tools/setup.sh build demo ...`. Without root it names
# what is missing, all of it at once (`root` is that itself, `lint` Rust's own tools). Also looks whether Rust and Node are there
# and new enough, before anything takes long.
set -euo pipefail
cd "$(dirname "$0")/.."
# A root's shell that came by `su` has no folder of the administrator's programs in its path.
PATH=$PATH:/usr/sbin:/sbin
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# needs_root: asks for a password now, not after minutes of building.
needs_root() {
  [ "$(id -u)" != 0 ] || return 0
  command -v sudo >/dev/null || fail "this needs root, and there is no sudo here; run make as root"
  sudo -n true 2>/dev/null || { echo "setup: this needs root at its end, by sudo"; sudo -v || fail "sudo refuses; run make as root"; }
}

build=(clang llvm libelf-dev zlib1g-dev make gcc g++ pkg-config ca-certificates)
demo=(redis-server iproute2 iptables ethtool util-linux e2fsprogs)
packages=()
root=0 lint=0
for what in "${@:-build}"; do
  case $what in
    build) packages+=("${build[@]}") ;;
    demo) packages+=("${demo[@]}") ;;
    test) packages+=("${build[@]}" "${demo[@]}" redis-tools fio chromium prometheus bpftool procps python3) ;;
    bench) packages+=("${demo[@]}" redis-tools prometheus victoria-metrics) ;;
    root) root=1 ;;
    lint) lint=1 ;;
    kernels) packages+=(qemu-system-x86 busybox-static cpio kmod xz-utils e2fsprogs iproute2 util-linux redis-server redis-tools bpftool) ;;
    *) echo "setup: no set-up called $what" >&2; exit 2 ;;
  esac
done

# newer PROGRAM FLAG WANTED ADVICE: whether it is there and says at least that version.
newer() {
  local program=$1 wanted=$3 advice=$4 found
  if ! command -v "$program" >/dev/null; then
    local home="" hint=()
    [ -z "${SUDO_USER:-}" ] || home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    if [ -n "$home" ] && [ -x "$home/.cargo/bin/$program" ]; then
      hint=("$SUDO_USER has it, but sudo does not look there; run make as $SUDO_USER, which asks for sudo itself where it must")
    fi
    fail "$program is missing; $advice" "${hint[@]}"
  fi
  found=$("$program" "$2" 2>&1) || fail "$program does not run; $advice" "$found"
  found=$(grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' <<<"$found" | head -n 1)
  printf '%s\n%s\n' "$wanted" "$found" | sort -CV || fail "$program $found is too old, $wanted is needed; $advice"
}
newer cargo --version 1.95 "install Rust 1.95 or newer first (https://rustup.rs; Debian 12's own is older)"
newer node --version 20.19 "install Node 20.19 or newer first (https://nodejs.org; Debian 12's own is older)"
newer npm --version 9 "it comes with Node; Debian has it in a package of its own"

if [ $lint = 1 ]; then
  # A small installation of Rust has neither.
  for component in clippy rustfmt; do
    command="cargo ${component/rustfmt/fmt}"
    $command --version >/dev/null 2>&1 || fail "$command is missing; rustup component add $component (Debian: rust-clippy, rustfmt) brings it"
  done
fi
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
case $target in
  *[[:space:]]*) fail "there is a space in $target, which libbpf's own build cannot stand; move the checkout, or build in another folder:" \
    "  export CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/gala-target" ;;
esac
for folder in "${CARGO_TARGET_DIR:-target}" ui/node_modules ui/dist; do
  if [ -e "$folder" ] && [ ! -w "$folder" ]; then
    fail "$folder belongs to $(stat -c %U "$folder"), from an earlier run; give it back: sudo chown -R $(id -un) $folder"
  fi
done
[ $root = 0 ] || needs_root

policy=/usr/sbin/policy-rc.d
mark="# Of GALA's tools/setup.sh, process"
finish() { # removes it where it is this run's, or that of one that was killed
  local owner
  owner=$(sed -n "s|^$mark \([0-9]*\).*|\1|p" $policy 2>/dev/null) || true
  if [ -n "$owner" ] && { [ "$owner" = $$ ] || [ ! -d "/proc/$owner" ]; }; then rm -f $policy; fi
}
# Left behind, it would keep every package from starting what it brings.
[ "$(id -u)" != 0 ] || finish

missing=()
if command -v dpkg-query >/dev/null; then
  while read -r package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
  done < <(printf '%s\n' "${packages[@]}" | sort -u)
else
  echo "setup: this is no Debian; going on without looking whether there is what these packages hold: ${packages[*]}"
fi
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
  services=$(printf '%s\n' "${missing[@]}" | grep -xE 'redis-server|prometheus|victoria-metrics' | tr '\n' ' ' || true)
  note=()
  [ -z "$services" ] || note=("  sudo systemctl disable --now ${services% }   # Debian starts them as services; none is needed as one")
  fail "these packages are missing; install them and try again:" \
    "  sudo apt-get install --no-install-recommends ${missing[*]}" "${note[@]}"
fi

echo "setup: installing ${missing[*]} (a minute or two)"
# Services that packages bring are not wanted, now or after the next start: tests start their own on free ports.
log=$(mktemp)
trap 'finish; rm -f "$log"' EXIT
[ -e $policy ] || { printf '#!/bin/sh\n%s\nexit 101\n' "$mark $$; gone when it ends." > $policy && chmod +x $policy; }
export DEBIAN_FRONTEND=noninteractive
# Others may be installing, as a fresh machine does by itself; each of apt's two locks is waited for.
apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
for _ in {1..30}; do
  "${apt[@]}" update >"$log" 2>&1 && break
  # One source that does not answer may be one that is not needed.
  grep -q lists/lock "$log" || break
  sleep 10
done
if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
  tail -n 6 "$log" >&2
  fail "apt-get could not install them; is there a network (a proxy: export http_proxy and https_proxy), are the sources right?"
fi
command -v systemctl >/dev/null || exit 0
for package in "${missing[@]}"; do
  dpkg -L "$package" | sed -n 's|^\(/usr\)\?/lib/systemd/system/\([^/@]*\.\(service\|timer\)\)$|\2|p' | while read -r unit; do
    if [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ]; then
      systemctl disable --quiet "$unit" 2>/dev/null && echo "setup: $unit of $package is left disabled"
    fi
  done || true
done
