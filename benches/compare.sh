#!/bin/bash
# Compares tapedump with GNU tar, Debian's dump and restore, and cat, on the same ext4 file system in an image file.
#
#   sudo benches/compare.sh [--pairs N] [--work DIR] [--small FILES] [--large MIB] [--empty FILES] [PART...]
#
# Parts (all, when none is named):
#   small        level 0 of 200,000 small files (ACLs, attributes, links), caches warm: against tar and dump
#   restore      the same back to an empty ext4 file system: against tar and restore
#   one-file     one of them from a dump of level 0, caches warm: against restore -Q
#   incremental  level 1 after one in a thousand of them has changed: against tar --listed-incremental and dump
#   generations  level 1 of btrfs volumes of 50,000 and 500,000 files, 200 of them changed: against btrfs send -p
#   contexts     level 0 of a btrfs volume that stores each second how it can be restarted: against storing it once
#   large        8 files of 512 MiB to nowhere: against cat
#   sparse       2 files of 10 GiB with 64 MiB of data each: against tar and dump
#   cold         as small, with every cache dropped before each run: against tar and dump
#   empty        1,000,000 empty files: peak memory
#
#   --pairs N   runs of each program, in turn (5); medians and least values are shown. What `contexts` is after, one in a
#               hundred, is within the noise of few: 31 take five minutes
#   --work DIR  where the images go, in a new directory (/var/tmp): 12 GiB for everything
#   --small, --large, --empty   other sizes, for a quick look; targets are meant for the default sizes
#
# Needs root (mounts, caches), Rust, Python 3, e2fsprogs, tar, and Debian's packages dump, acl, attr and btrfs-progs. An
# already built program is taken from $TAPEDUMP. Nothing is left behind.
#
# Dumps go to nowhere: `null:` for tapedump, /dev/null for dump, which reads all the same, and /dev/zero for tar, which
# reads nothing when it recognizes /dev/null. Those of level 1 go to files, since what went to nowhere has no history.
# Times are the program's own; what a restore leaves in the page cache is written by a sync afterwards, which is shown as
# a time of its own (tapedump syncs before it ends).
# Peak memory below some 16 MiB shows as that much: it is what the measuring program has when it starts the others.
# Ratios are tapedump's time by the peer's: below 1 tapedump is faster.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
    exit "$1"
}

pairs=5 work='' small=200000 large=512 empty=1000000 parts=()
while [ $# -gt 0 ]; do
    case $1 in
        --pairs) pairs=$2; shift ;;
        --work) work=$2; shift ;;
        --small) small=$2; shift ;;
        --large) large=$2; shift ;;
        --empty) empty=$2; shift ;;
        -h | --help) usage 0 ;;
        small | restore | incremental | generations | contexts | one-file | large | sparse | cold | empty) parts+=("$1") ;;
        *) usage 2 >&2 ;;
    esac
    shift
done
[ ${#parts[@]} -gt 0 ] || parts=(small restore incremental generations contexts one-file large sparse cold empty)

if [ "$(id -u)" -ne 0 ]; then
    echo "compare.sh: it mounts file systems and drops caches: run it as root" >&2
    exit 2
fi
for program in tar dump restore mkfs.ext4 mkfs.btrfs python3; do
    command -v "$program" > /dev/null || { echo "compare.sh: $program is missing" >&2; exit 2; }
done
if [ -z "${TAPEDUMP:-}" ]; then
    cargo build --release --locked --package tapedump --bin tapedump
    TAPEDUMP=$(cargo metadata --format-version 1 --no-deps | python3 -c \
        'import json, sys; print(json.load(sys.stdin)["target_directory"] + "/release/tapedump")')
fi

work=$(mktemp -d "${work:-/var/tmp}/tapedump-compare.XXXXXX")
clean() {
    local mount
    for mount in "$work/source" "$work/target"; do
        if mountpoint --quiet "$mount"; then umount "$mount"; fi
    done
    rm -rf --one-file-system "$work"
}
trap clean EXIT

mkdir "$work/source" "$work/target" "$work/state" "$work/archives"

wants() {
    local part
    for part in "${parts[@]}"; do
        case " $* " in *" $part "*) return 0 ;; esac
    done
    return 1
}
# Each tree has the image for itself, because dump dumps whole file systems.
run() {
    TAPEDUMP_STATE=$work/state python3 benches/compare.py --tapedump "$TAPEDUMP" --work "$work" --pairs "$pairs" "$@"
}
fresh() {
    if mountpoint --quiet "$work/source"; then umount "$work/source"; fi
    rm -f "$work/source.img"
    truncate --size 14G "$work/source.img"
    mkfs.ext4 -q -F -N 1400000 "$work/source.img"
    mount -o loop "$work/source.img" "$work/source"
    echo "making the tree: $*"
    benches/gen.py "$1" "$work/source/tree" "$2"
    sync
}

if wants small restore cold one-file incremental; then
    fresh small "$small"
    # The last one changes files.
    for part in small restore cold one-file incremental; do
        if wants "$part"; then run "$part"; fi
    done
fi
for part in generations contexts; do
    if wants "$part"; then run "$part"; fi
done
if wants large sparse; then
    fresh large "$large"
    for part in large sparse; do
        if wants "$part"; then run "$part"; fi
    done
fi
if wants empty; then
    fresh empty "$empty"
    run empty
fi
