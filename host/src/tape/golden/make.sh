#!/bin/sh
# Makes the compressed dumps beside this file: the same small ext4 file system, dumped plainly and with each method by
# Debian's dump 0.4b47. Needs root (a loop device) and the packages dump and e2fsprogs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree/dir"
for file in 1 2 3 4 5 6; do
    for line in $(seq 1 60); do echo "file $file line $line of the golden tree"; done > "$work/tree/dir/file$file"
done
head -c 6000 /dev/urandom > "$work/tree/noise"
truncate -s 1M "$work/image"
mke2fs -q -N 32 -t ext4 -O ^has_journal -d "$work/tree" "$work/image"
loop=$(losetup -f --show "$work/image")
trap 'losetup -d "$loop"; rm -rf "$work"' EXIT
dump -0 -b 8 -f "$here/plain.dump" "$loop"
dump -0 -z9 -b 8 -f "$here/zlib.dump" "$loop"
dump -0 -j9 -b 8 -f "$here/bzip2.dump" "$loop"
dump -0 -y -b 8 -f "$here/lzo.dump" "$loop"
