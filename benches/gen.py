#!/usr/bin/env python3
"""Makes the trees that benches/compare.sh measures. The same call always makes the same tree.

    gen.py small DIRECTORY [FILES]   FILES (200,000) names in 2,000 directories: files of log-normal size around 3 KiB,
                                     at most 16 KiB, half text, half noise; 5 % with an extended attribute, 5 % with
                                     an ACL, 2 % symbolic links, 1 % further names of files before
    gen.py large DIRECTORY [MIB]     whole/: 8 files of MIB (512) MiB of noise; sparse/: 2 of 10 GiB, holes but for
                                     64 MiB
    gen.py empty DIRECTORY [FILES]   FILES (1,000,000) empty files, 500 in a directory
    gen.py flat DIRECTORY [FILES]    FILES (50,000) files of up to 300 bytes, 100 in a directory, 100 such in another
    gen.py append DIRECTORY FILES    appends to 200 of the first FILES files that `flat` made there, evenly spread
    gen.py touch DIRECTORY           changes one in a thousand of the files that `small` made there, says how many
"""

import math
import os
import random
import struct
import sys
from pathlib import Path

SIZE_MAX = 16 << 10
MIB = 1 << 20


def access_acl(user):
    """What system.posix_acl_access holds for an entry of a named user: version, then tag, permissions, number."""
    unnamed = 0xFFFFFFFF
    entries = [(0x01, 6, unnamed), (0x02, 6, user), (0x04, 4, unnamed), (0x10, 6, unnamed), (0x20, 4, unnamed)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


class SmallFiles:
    def __init__(self, root, count):
        self.choice = random.Random(20240501)
        self.noise = random.Random(7).randbytes(MIB)
        self.text = (b"The quick brown fox jumps over the lazy dog. " * 512)[:SIZE_MAX]
        self.count = count
        self.files = []
        # Three levels: 20 x 10 x 10.
        self.directories = [root / f"t{n // 100:02d}" / f"s{n // 10 % 10}" / f"d{n % 10}" for n in range(2000)]

    def make(self):
        for directory in self.directories:
            directory.mkdir(parents=True, exist_ok=True)
        for number in range(self.count):
            directory = self.choice.choice(self.directories)
            self.make_one(str(directory), f"{directory}/f{number:06d}.dat")

    def make_one(self, directory, path):
        lot = self.choice.random()
        if lot < 0.02 and self.files:
            os.symlink(os.path.relpath(self.choice.choice(self.files), directory), path)
        elif lot < 0.03 and self.files:
            os.link(self.choice.choice(self.files), path)
        else:
            self.make_file(path, lot)

    def make_file(self, path, lot):
        size = min(SIZE_MAX, int(self.choice.lognormvariate(math.log(3072), 0.9)))
        if self.choice.random() < 0.01:
            size = 0
        at = self.choice.randrange(len(self.noise) - SIZE_MAX)
        data = self.noise[at : at + size] if self.choice.random() < 0.5 else self.text[:size]
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(fd, data)
            if lot > 0.95:
                os.setxattr(fd, "user.note", self.noise[at : at + self.choice.randrange(8, 120)])
            elif lot > 0.90:
                os.setxattr(fd, "system.posix_acl_access", access_acl(1000 + self.choice.randrange(50)))
            moment = 1_600_000_000 * 10**9 + self.choice.randrange(10**17)
            os.utime(fd, ns=(moment, moment))
        finally:
            os.close(fd)
        self.files.append(path)


def small(root, count=200_000):
    SmallFiles(root, count).make()


def large(root, mib=512):
    choice = random.Random(99)
    for part in ("whole", "sparse"):
        (root / part).mkdir(parents=True)
    for number in range(8):
        with open(root / "whole" / f"big{number}.bin", "wb", buffering=0) as file:
            left = mib
            while left > 0:
                piece = min(left, 4)
                file.write(choice.randbytes(piece * MIB))
                left -= piece
    for number in range(2):
        with open(root / "sparse" / f"sparse{number}.img", "wb", buffering=0) as file:
            file.truncate(10 << 30)
            for extent in range(64):
                file.seek(extent * 160 * MIB + 4096 * choice.randrange(1000))
                file.write(choice.randbytes(MIB))


def empty(root, count=1_000_000):
    directory = None
    for number in range(count):
        if number % 500 == 0:
            directory = root / f"d{number // 500:05d}"
            directory.mkdir(parents=True, exist_ok=True)
        os.close(os.open(f"{directory}/f{number:07d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def touch(root):
    """Appends a byte to files; which ones is the same each time."""
    files = sorted(path for path in root.rglob("f*.dat") if path.is_file() and not path.is_symlink())
    chosen = random.Random(5).sample(files, len(files) // 1000 or 1)
    for path in chosen:
        with open(path, "ab") as file:
            file.write(b"+")
    print(len(chosen))


def flat_file(root, number):
    return root / f"d{number // 10_000}" / f"e{number // 100}" / f"f{number}"


def flat(root, count=50_000):
    for number in range(count):
        path = flat_file(root, number)
        if number % 100 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * (number % 300))


def append(root, count):
    for number in range(0, count, count // 200):
        with open(flat_file(root, number), "ab") as file:
            file.write(b"changed")


TREES = {"flat": flat, "append": append, "small": small, "large": large, "empty": empty, "touch": touch}


def main(arguments):
    if len(arguments) not in (2, 3) or arguments[0] not in TREES:
        sys.exit(__doc__)
    TREES[arguments[0]](Path(arguments[1]), *map(int, arguments[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
