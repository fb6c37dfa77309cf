#!/bin/bash
# Installs what check.sh needs on a Debian 12 machine, as root or with passwordless sudo. What is there is left alone; run
# again, it does nothing.
# The libraries of the targets are built by cargo, by check.sh, in target/cross.
set -euo pipefail
. "$(dirname "$0")/env.sh"

become=()
if [ "$(id -u)" -ne 0 ]; then become=(sudo --non-interactive); fi

apt() {
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 -qq "$@"
}

lacking() {
    local package
    for package in "$@"; do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

compilers=(rustc-web cargo-web rust-web-src lld-22 llvm-22 gcc-s390x-linux-gnu libc6-dev-s390x-cross dump)
emulators=(qemu-system-arm qemu-system-riscv qemu-user)
mapfile -t compilers < <(lacking "${compilers[@]}")
mapfile -t emulators < <(lacking "${emulators[@]}")
if [ ${#compilers[@]} -gt 0 ] || [ ${#emulators[@]} -gt 0 ]; then
    # Emulators from the backports: these are the ones that go with a backported qemu-utils, too.
    if ! grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d; then
        # From where the other packages come.
        mirror=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
            awk '/^(URIs:|deb) / && !mirror { mirror = $2 } END { print mirror }' || true)
        printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
            "${mirror:-http://deb.debian.org/debian}" /usr/share/keyrings/debian-archive-keyring.gpg |
            "${become[@]}" tee /etc/apt/sources.list.d/backports.sources >/dev/null
    fi
    apt update
    if [ ${#compilers[@]} -gt 0 ]; then
        apt install --yes --no-install-recommends "${compilers[@]}" >/dev/null
    fi
    if [ ${#emulators[@]} -gt 0 ]; then
        apt install --yes --no-install-recommends -t bookworm-backports "${emulators[@]}" >/dev/null
    fi
fi

# What decodes the logs of firmware.
if [ ! -x "$tools/bin/defmt-print" ]; then
    # Unoptimized: it is built once and decodes some hundred lines.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --version 1.2.0 --root "$tools" \
        --target-dir "$cross_target/tools-build" defmt-print
fi
echo "cross: tools are installed"
