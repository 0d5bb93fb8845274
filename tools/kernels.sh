#!/bin/bash
# Runs the release binary on other kernels: `tools/kernels.sh [5.10 6.1 6.12]`. Each is booted in a virtual machine (emulated,
# one processor), and tests/kernels/checks.sh is run in it. One line per check: PASS, FAIL or SKIP; fails when one does.
#
# Kernels are Debian's own packages, fetched once with the machine's apt into ~/.cache/gala-kernels; nothing is installed.
# GALA names another binary, KERNELS_LOG a folder for the machines' consoles.
set -euo pipefail
cd "$(dirname "$0")/.."
gala=${GALA:-target/release/gala}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gala-kernels
# What the machine gets besides `gala` and busybox (whose own grep is the dearest part of a run), and the modules it loads, in
# that order.
programs=(grep redis-server redis-cli redis-benchmark ss bpftool setsid)
modules=(virtio_pci virtio_blk ext4 tcp_diag)
# Emulation is some 14 times slower than this machine; a run takes about two minutes, three to four where others use it too.
bound=600

suite_of() {
  case $1 in
    5.10) echo bullseye ;;
    6.1) echo bookworm ;;
    6.12) echo trixie ;;
    *) echo "kernels: no kernel $1; known are 5.10, 6.1 and 6.12" >&2; return 2 ;;
  esac
}

# fetch VERSION: vmlinuz, the modules and `release` of it into the cache.
fetch() (
  version=$1 to=$cache/$1
  [ -e "$to/complete" ] && return
  suite=$(suite_of "$version")
  echo "kernels: fetching $version from Debian $suite" >&2
  # Where this machine's own Debian packages come from.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
  [ -n "$mirror" ] || { echo "kernels: apt knows no source of Debian's packages" >&2; return 1; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,tree}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$work/sources.list"
  apt=(-o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/parts" -o Dir::State::lists="$work/lists"
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
  apt-get "${apt[@]}" -qq update
  package=$(apt-cache "${apt[@]}" depends linux-image-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
  (cd "$work" && apt-get "${apt[@]}" -qq download "$package" && dpkg -x "$package"_*.deb tree)
  release=${package#linux-image-}
  # Since trixie below usr.
  [ -d "$work/tree/lib/modules" ] || { mkdir -p "$work/tree/lib" && ln -s ../usr/lib/modules "$work/tree/lib/modules"; }
  /sbin/depmod -b "$work/tree" "$release"
  rm -rf "$to" && mkdir -p "$to/modules"
  cp "$work/tree/boot/vmlinuz-$release" "$to/vmlinuz"
  echo "$release" > "$to/release"
  for module in "${modules[@]}"; do
    # One that is built in has nothing to load.
    /sbin/modprobe -d "$work/tree" --set-version "$release" --show-depends "$module" | awk '/^insmod/ {print $2}'
  done | awk '!seen[$0]++' | while read -r file; do
    name=$(basename "$file" .xz)
    case $file in
      *.xz) xz -dc "$file" > "$to/modules/$name" ;;
      *) cp "$file" "$to/modules/$name" ;;
    esac
    echo "$name" >> "$to/modules/order"
  done
  touch "$to/complete"
)

# put ROOT FILE [NAME]: the program with the libraries it needs.
put() {
  local root=$1 file=$2
  install -D -m 755 "$file" "$root/bin/${3:-$(basename "$file")}"
  { ldd "$file" 2>/dev/null || true; } | { grep -oE '/[^ ]+' || true; } | while read -r library; do
    cp -L --parents --no-clobber "$library" "$root"
  done
}

# make_initrd VERSION ROOT INITRD
make_initrd() {
  local version=$1 root=$2 initrd=$3 program
  mkdir -p "$root"/{bin,dev,etc,proc,sys,run,tmp,var,mnt}
  cp /bin/busybox "$root/bin/"
  put "$root" "$(realpath "$gala")" gala
  for program in "${programs[@]}"; do put "$root" "$(command -v "$program")"; done
  echo 'root:x:0:0:root:/:/bin/sh' > "$root/etc/passwd"
  echo '127.0.0.1 localhost' > "$root/etc/hosts"
  echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
  cp -r "$cache/$version/modules" "$root/modules"
  cp tests/kernels/init tests/kernels/checks.sh "$root/"
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$initrd"
}

# run VERSION: the lines of its checks; the last is `done` if the machine got that far.
run() (
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  make_initrd "$1" "$work/root" "$work/initrd"
  truncate -s 64M "$work/disk"
  /sbin/mke2fs -q -t ext4 "$work/disk"
  # The first serial line is the kernel's console, the second what the checks say.
  # In the foreground, where Ctrl-C reaches it.
  timeout --foreground --kill-after=10 "$bound" qemu-system-x86_64 -accel tcg -cpu max -smp 1 -m 1536 -nodefaults -no-reboot -display none \
    -kernel "$cache/$1/vmlinuz" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1 psi=1" \
    -drive "file=$work/disk,format=raw,if=virtio" -serial "file:$work/console" -serial stdio </dev/null | sed -u 's/\r//' || true
  [ -z "${KERNELS_LOG:-}" ] || { mkdir -p "$KERNELS_LOG" && cp "$work/console" "$KERNELS_LOG/console-$1"; }
)

tools/setup.sh kernels
[ -x "$gala" ] || { echo "kernels: $gala does not exist; run make build first" >&2; exit 1; }
[ $# -gt 0 ] || set -- 5.10 6.1 6.12
# A machine that Ctrl-C ended is no reason to start the next.
trap 'exit 130' INT TERM HUP
failed=0
for version in "$@"; do
  fetch "$version"
  echo "== Linux $(cat "$cache/$version/release")"
  lines=$(mktemp)
  run "$version" | tee "$lines"
  grep -q '^done$' "$lines" || { echo "FAIL the machine did not come to the end of its checks within $bound s"; failed=1; }
  ! grep -q '^FAIL' "$lines" || failed=1
  rm -f "$lines"
done
exit $failed
