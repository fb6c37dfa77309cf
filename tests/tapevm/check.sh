#!/bin/bash
# Dumps and restores through the real Linux `st` driver, in user-mode Linux; see run.sh and inside.sh.
#
# usage: check.sh [GROUP...]        the groups of inside.sh (all)
# TAPEDUMP_BIN names the binary under test; without it the release binary is built.
# As root (or with passwordless sudo) it installs the packages it needs. Where they cannot be had, it says so and skips,
# except where CI is true: there that is a failure. The last line is "N passed, N failed".
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
packages=(btrfs-progs busybox-static dump e2fsprogs gcc kmod libc6-dev mt-st user-mode-linux)

without_machine() {
	if [ "${CI-}" = true ]; then
		echo "tapevm: $*" >&2
		echo '0 passed, 1 failed'
		exit 1
	fi
	echo "skipped: the tape checks need user-mode Linux: $*"
	exit 0
}

missing=()
for package in "${packages[@]}"; do
	dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	become=()
	if [ "$(id -u)" -ne 0 ]; then become=(sudo --non-interactive); fi
	{ "${become[@]}" apt-get update &&
		"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } >&2 ||
		without_machine "cannot install ${missing[*]}"
fi

if [ -z "${TAPEDUMP_BIN-}" ]; then
	cargo build --release --locked --package tapedump --bin tapedump --manifest-path "$here/../../Cargo.toml"
	TAPEDUMP_BIN=${CARGO_TARGET_DIR:-$here/../../target}/release/tapedump
fi
binary=$(readlink -f "$TAPEDUMP_BIN")

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
cd "$scratch"
"$here/run.sh" -n 2 -s 24 -e 6 -o "1:-P -b 131072 -e 262144" -t 600 -- "$here/inside.sh" "$binary" "$@" || status=$?
case $status in
0) ;;
1) exit 1 ;;	# inside.sh has said what failed
124) echo '0 passed, 1 failed'; exit 1 ;;
*) without_machine "the machine did not come up" ;;
esac
