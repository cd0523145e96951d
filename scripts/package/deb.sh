#!/usr/bin/env bash
# deb.sh: make a Debian package.
#
# usage: deb.sh [DIR]
#
# It needs Go, git, dpkg and gzip; nfpm, which writes the package, is built by Go from the version below and
# is no part of our module. The package's path is printed. The same sources give the same bytes. Who makes it
# is $DEBFULLNAME with $DEBEMAIL, as for Debian's own tools, or else git's author; its version is $VERSION, or
# else what git says.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:-.}

# Later ones need modules that not every proxy has.
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.41.3

ARCH=$(dpkg --print-architecture)
DEB_VERSION=${VERSION:-$(git describe --tags --match 'v[0-9]*' 2>/dev/null || git log -1 --format=0~%cd.%h --date=format:%Y%m%d)}
DEB_VERSION=${DEB_VERSION#v}
DEB_VERSION=${DEB_VERSION//-/+}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
MAINTAINER="${DEBFULLNAME:-$(git log -1 --format=%an)} <${DEBEMAIL:-$(git log -1 --format=%ae)}>"
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
export ARCH DEB_VERSION SOURCE_DATE_EPOCH MAINTAINER STAGE

CGO_ENABLED=0 go build -trimpath -o "$STAGE/sockbox" \
	-ldflags "-s -w -X sockbox/applets/internal/cli.version=$DEB_VERSION" .
# Debian has places of its own, and wants pages compressed.
PROGRAM=$STAGE/sockbox PREFIX=/usr DESTDIR=$STAGE ZSHDIR=share/zsh/vendor-completions USERUNITDIR=lib/systemd/user scripts/package/install.sh install
rm "$STAGE/sockbox"
rm -r "$STAGE/usr/share/sockbox" "$STAGE/usr/share/doc/sockbox/LICENSE"
find "$STAGE/usr/share/man" -type f -exec gzip -9n {} +
find "$STAGE/usr/share/man" -type l | while read -r link; do
	ln -s "$(readlink "$link").gz" "$link.gz"
	rm "$link"
done

doc=$STAGE/usr/share/doc/sockbox
{
	echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
	printf '\nFiles: *\nCopyright: %s The sockbox authors\nLicense: Expat\n' "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y)"
	sed '1,/^Copyright/d; s/^$/./; s/^/ /' LICENSE | sed 1d
} >"$doc/copyright"
printf 'sockbox (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$DEB_VERSION" "$MAINTAINER" \
	"$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
mkdir -p "$STAGE/usr/share/lintian/overrides"
cat >"$STAGE/usr/share/lintian/overrides/sockbox" <<END
# As all programs in Go without C are: it runs on any system.
sockbox: statically-linked-binary [usr/bin/sockbox]
END
find "$STAGE" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

package=$out/sockbox_${DEB_VERSION}_$ARCH.deb
GOFLAGS='' go run "$nfpm" package --packager deb --config scripts/package/nfpm.yaml --target "$package" >&2
echo "$package"
