#!/bin/bash
# The package on a system run by systemd: installed, each role started as packaged, upgraded, purged. One line per check: PASS
# or FAIL; fails when one does. `tests/package.sh [FILE.deb]`; by default the one `make package` made.
#
# The system is this machine's own, booted in a container on a throwaway copy of its files with a network of its own, so
# nothing is installed here and no port is taken. Without root, systemd-nspawn, jq or curl it is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "the package test needs root"
for tool in systemd-nspawn jq curl; do
  command -v $tool >/dev/null || skip "the package test needs $tool (Debian: systemd-container, jq, curl)"
done
deb=${1:-$(ls -t target/package/gala_*.deb 2>/dev/null | head -n 1)}
[ -f "$deb" ] || { echo "package test: no package; make package makes it" >&2; exit 1; }

work=$(mktemp -d)
machine=gala-package-test
# Where systemd does not run the machine, the container's control groups stand beside ours, and nobody removes them.
keep=() groups=()
if [ ! -d /run/systemd/system ]; then
  keep=(--keep-unit)
  for group in /sys/fs/cgroup/{,unified/,systemd/}{payload,supervisor}; do [ -e $group ] || groups+=("$group"); done
fi
cleanup() {
  umount "$work/root" "$work/layer" 2>/dev/null || umount -l "$work/root" "$work/layer" 2>/dev/null || true
  rm -rf "$work"
  for group in "${groups[@]}"; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
}
trap cleanup EXIT
mkdir "$work/layer" "$work/root"
mount -t tmpfs -o size=1G gala-package-test "$work/layer"
mkdir "$work/layer/upper" "$work/layer/work"
mount -t overlay -o "lowerdir=/,upperdir=$work/layer/upper,workdir=$work/layer/work" gala-package-test "$work/root" 2>/dev/null ||
  skip "the package test needs an overlay over the root file system"
root=$work/root
rm -rf "$root"/usr/sbin/policy-rc.d "$root"/etc/gala "$root"/var/lib/gala "$root"/etc/systemd/system/*
cp "$deb" "$root/root/gala.deb"
# What a container must leave alone, and what has no business here.
for unit in systemd-sysctl systemd-timesyncd systemd-udevd systemd-udev-trigger systemd-modules-load; do
  ln -s /dev/null "$root/etc/systemd/system/$unit.service"
done
cat > "$root/etc/systemd/system/$machine.service" <<'UNIT'
[Unit]
Requires=basic.target
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/checks.sh
ExecStopPost=/bin/systemctl poweroff --force
UNIT
cat > "$root/root/checks.sh" <<'CHECKS'
exec > /root/result 2>&1
export DEBIAN_FRONTEND=noninteractive
check() { # name, command...: the command's output is shown when it fails
  local name=$1 out; shift
  if out=$("$@" 2>&1); then echo "PASS $name"; else echo "FAIL $name: ${out:-$*}"; fi
}
within() { # seconds, command...: until it succeeds
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { "$@"; return; }; sleep 0.2; done
}
active() { [ "$(systemctl is-active "$1")" = "$2" ] || { systemctl status --no-pager -l "$1"; return 1; }; }
answers() { curl -sf "http://127.0.0.1:$1" >/dev/null; }
# The probes must stand in the service as they stand for root: the unit takes nothing away that they need.
probes() { gala doctor --json | jq -r '.probes[] | select(.state != "unsupported") | .name + " " + .state' | sort; }
served() { curl -sf http://127.0.0.1:7070/api/v1/agent/probes | jq -r '.items[] | select(.state != "unsupported") | .name + " " + .state' | sort; }
same_probes() { diff <(probes) <(served); }
mounts_as_the_host() { diff <(cut -d' ' -f2,4 /proc/mounts) <(cut -d' ' -f2,4 "/proc/$(systemctl show -P MainPID gala)/mounts"); }
measures_itself() { curl -sf http://127.0.0.1:7070/api/v1/agent/budget | jq -e '.cpu.bpf_reason == "" and .cpu.bpf_ratio > 0'; }
nothing_left() {
  local left; left=$(ls -d /usr/bin/gala /etc/gala /var/lib/gala /run/gala_gopher /usr/share/doc/gala /usr/share/man/man1/gala.1.gz \
    /lib/systemd/system/gala* /etc/systemd/system/multi-user.target.wants/gala* 2>/dev/null) || true
  [ -z "$left" ] && ! pgrep -x gala >/dev/null || { echo "$left"; pgrep -ax gala; return 1; }
}
check "installs" dpkg -i /root/gala.deb
check "tells its version" sh -c 'gala --version | grep -q "^gala [0-9]"'
check "configuration is accepted" gala agent --check-config
check "units are well-formed" systemd-analyze verify gala.service gala-agent.service gala-hub.service
check "nothing runs by itself" active gala inactive
check "all in one starts" systemctl enable --now gala
check "the interface answers" within 5 answers 7070/
check "metrics are shown" within 5 sh -c 'curl -sf http://127.0.0.1:8888/metrics | grep -q ^gala_gopher_'
check "probes stand as outside the unit" within 10 same_probes
check "mounts are the host's" mounts_as_the_host
check "BPF run time is measured" within 30 measures_itself
check "takes its configuration again" sh -c 'systemctl reload gala && systemctl is-active gala'
first=$(systemctl show -P MainPID gala)
kill -KILL "$first"
check "comes back after kill -9" within 10 sh -c "curl -sf http://127.0.0.1:7070/api/v1/health && [ \$(systemctl show -P MainPID gala) != $first ]"
check "the agent takes over" systemctl start gala-agent
check "beside it the hub" systemctl start gala-hub
check "all in one has made way" active gala inactive
check "agent answers" within 5 answers 9999/tcp
check "hub answers" within 5 answers 7070/api/v1/health
before=$(systemctl show -P MainPID gala-hub)
check "installs over itself" dpkg -i /root/gala.deb
check "what ran is restarted" within 5 sh -c "[ \$(systemctl show -P MainPID gala-hub) != $before ] && systemctl is-active gala-agent gala-hub"
check "removal keeps history" sh -c 'dpkg -r gala && ls /var/lib/gala/store /etc/gala/gala.toml'
check "purge" dpkg --purge gala
check "nothing is left" nothing_left
echo done
CHECKS
timeout --foreground --kill-after=10 180 systemd-nspawn --quiet --directory="$root" --boot --register=no "${keep[@]}" --private-network --machine=$machine \
  --capability=all --system-call-filter="bpf perf_event_open" systemd.unit=$machine.service </dev/null >"$work/console" 2>&1 || true
result=$root/root/result
[ "$(tail -n 1 "$result" 2>/dev/null)" = done ] || { tail -n 20 "$work/console"; cat "$result" 2>/dev/null; echo "FAIL the system in the container did not get through"; exit 1; }
grep -v '^done$' "$result"
! grep -q '^FAIL' "$result"
