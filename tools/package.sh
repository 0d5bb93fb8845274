#!/bin/bash
# Makes target/package/gala_VERSION_ARCH.deb of the release build, with dpkg-deb alone. `tests/package.sh` tries it out.
#
# What it depends on is read from the binary. The same commit and toolchain give the same bytes: times are the commit's.
# MAINTAINER (name <mail>) and DEB_REVISION (1) may be set by who publishes.
set -euo pipefail
cd "$(dirname "$0")/.."
gala=${GALA:-target/release/gala}
[ -x "$gala" ] || { echo "package: $gala is missing; make build makes it" >&2; exit 1; }
for tool in dpkg-deb readelf strip gzip; do
  command -v $tool >/dev/null || { echo "package: $tool is missing; install dpkg and binutils" >&2; exit 1; }
done
version=$("$gala" --version | cut -d' ' -f2)-${DEB_REVISION:-1}
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}
export SOURCE_DATE_EPOCH LC_ALL=C
umask 022
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root" # mktemp's 0700 would become the mode of /
docs=$root/usr/share/doc/gala

put() { install -D -m "$1" "$2" "$root/$3"; }
put 755 "$gala" usr/bin/gala
strip --remove-section=.comment --remove-section=.note "$root/usr/bin/gala"
put 644 deploy/gala.toml etc/gala/gala.toml
for unit in gala gala-agent gala-hub; do put 644 deploy/systemd/$unit.service lib/systemd/system/$unit.service; done
put 644 deploy/gala.1 usr/share/man/man1/gala.1
put 644 deploy/deb/copyright usr/share/doc/gala/copyright
put 644 docs/install.md usr/share/doc/gala/install.md
put 644 docs/metrics.md usr/share/doc/gala/metrics.md
put 644 CHANGELOG.md usr/share/doc/gala/changelog
maintainer=${MAINTAINER:-GALA maintainers <maintainers@gala.invalid>}
cat > "$docs/changelog.Debian" <<TEXT
gala ($version) unstable; urgency=medium

  * Built from commit $("$gala" --version | sed 's/.*(\([^,]*\),.*/\1/'); changelog.gz says what is new.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
TEXT

# Name, version and licence of each component in the binary, and each different text once.
third_party() {
  local registry=${CARGO_HOME:-$HOME/.cargo}/registry/src crates modules name crate license folder text sum
  # First, so that a list that cannot be had ends this.
  crates=$(cargo tree --locked --offline -p gala -e normal,no-proc-macro --prefix none --no-dedupe -f '{p}|{l}' | grep -v '(/' | sort -u)
  modules=$(cd ui && npm ls --omit=dev --all --parseable | grep /node_modules/ | grep -vE '/(typescript|@types/[^/]*|csstype)$' | sort)
  echo "Components of /usr/bin/gala that are others' work, each with its licence; the texts follow."
  echo
  declare -A seen
  texts=()
  # collect FOLDER: remembers the licence texts in it that were not seen yet.
  collect() {
    while IFS= read -r text; do
      sum=$(md5sum < "$text")
      [ -n "${seen[$sum]:-}" ] || { seen[$sum]=1; texts+=("$name"$'\t'"$text"); }
    done < <(find "$1" -maxdepth 4 -type f -not -path '*/node_modules/*/node_modules/*' \
      \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \) -not -name '*.rs' -not -name '*.html' | sort)
  }
  while IFS='|' read -r crate license; do
    name=${crate/ v/ }
    # Cargo of another age names the same registry otherwise, so there may be two.
    folder=$(find "$registry" -mindepth 2 -maxdepth 2 -name "${name/ /-}" | head -n 1)
    [ -d "$folder" ] || { echo "package: sources of $name are not in $registry" >&2; return 1; }
    echo "crate $name: $license"
    collect "$folder"
  done <<<"$crates"
  while IFS= read -r folder; do
    name=$(node -p 'const p=require(process.argv[1]); p.name+" "+p.version+": "+p.license' "$folder/package.json")
    echo "npm $name"
    name=${name%%:*}
    collect "$folder"
  done <<<"$modules"
  echo "Rust standard library $(rustc --version | cut -d' ' -f2): MIT OR Apache-2.0"
  for name in libelf-dev zlib1g-dev; do
    echo "static library of Debian's $name $(dpkg-query -W -f='${Version}' $name)"
    texts+=("$name"$'\t'"/usr/share/doc/$name/copyright")
  done
  for text in "${texts[@]}"; do
    printf '\n======== %s: %s\n\n' "${text%%$'\t'*}" "$(basename "${text#*$'\t'}")"
    cat "${text#*$'\t'}"
  done
}
third_party > "$docs/third-party"
gzip -9n "$root"/usr/share/man/man1/gala.1 "$docs"/{changelog,changelog.Debian,third-party}

# depends: each library the binary names, from the package that owns it, at least as new as the newest symbol it uses.
depends() {
  local library path package newest
  readelf -d "$gala" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | while read -r library; do
    path=$(ldd "$gala" | awk -v name="$library" '$1 == name {print $3} $1 ~ "/"name"$" {print $1}')
    package=$(dpkg -S "$path" 2>/dev/null || dpkg -S "$(realpath "$path")") || { echo "package: nobody owns $library" >&2; return 1; }
    newest=$(readelf -V "$gala" | awk -v file="File: $library" '/File:/ {on = index($0, file " ")} on' |
      sed -n 's/.*Name: [A-Z]*_\([0-9.]*\).*/\1/p' | sort -V | tail -1)
    echo "${package%%:*} ${newest:-0}"
  done | sort -k1,1 -k2,2Vr | sort -u -k1,1 | awk '{printf "%s%s (>= %s)", sep, $1, $2; sep = ", "}'
}
needed=$(depends)
[ -n "$needed" ] || { echo "package: no library was found in $gala" >&2; exit 1; }

mkdir "$root/DEBIAN"
for script in postinst prerm postrm; do install -m 755 deploy/deb/$script "$root/DEBIAN/$script"; done
echo /etc/gala/gala.toml > "$root/DEBIAN/conffiles"
(cd "$root" && find etc lib usr -type f | sort | grep -v '^etc/' | xargs md5sum) > "$root/DEBIAN/md5sums"
size=$(du -k --apparent-size -s --exclude=DEBIAN "$root" | cut -f1)
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@MAINTAINER@|$maintainer|" -e "s|@SIZE@|$size|" \
  -e "s|@DEPENDS@|$needed|" deploy/deb/control > "$root/DEBIAN/control"

out=target/package/gala_${version}_$architecture.deb
mkdir -p target/package
rm -f target/package/gala_*_"$architecture".deb
dpkg-deb --root-owner-group --build "$root" "$out" >/dev/null
printf 'package: %s, %.1f MiB, %.1f MiB installed, depends on %s\n' "$out" \
  "$(awk "BEGIN {print $(stat -c %s "$out") / 1048576}")" "$(awk "BEGIN {print $size / 1024}")" "$needed"
