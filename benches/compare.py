#!/usr/bin/env python3
"""Measures one part of benches/compare.sh, which prepares the images and cleans up: see there."""

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Program:
    """A program under measurement. `target`: it writes into a fresh file system, in which it is started."""

    name: str
    command: list
    target: bool = False
    # Ratios that tapedump is to reach against it.
    wall_max: float | None = None
    # Seconds that it may take.
    seconds_max: float | None = None
    # What is done before each run, and not measured.
    prepare: Callable[[], None] = lambda: None
    directory: Path | None = None
    runs: list = field(default_factory=list)


@dataclass
class Run:
    wall: float
    cpu: float
    rss: float
    sync: float = 0.0


def measure(command, directory, log):
    """Runs a command; its usage includes that of the processes it waited for."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        log.flush()
        tail = Path(log.name).read_text(errors="replace")[-2000:]
        sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{tail}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


class Bench:
    def __init__(self, options):
        self.work = options.work
        self.pairs = options.pairs
        self.tapedump = str(options.tapedump)
        self.source = self.work / "source"
        self.target = self.work / "target"
        self.log = open(self.work / "log", "w")

    def shell(self, *command):
        subprocess.run(command, check=True, stdout=self.log, stderr=self.log)

    def drop_caches(self):
        """Everything: the file system's caches, its block device's, and those of the image file beneath."""
        self.shell("sync")
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def fresh_target(self):
        self.release_target()
        image = self.work / "target.img"
        image.unlink(missing_ok=True)
        self.shell("truncate", "--size", "14G", str(image))
        self.shell("mkfs.ext4", "-q", "-F", "-N", "1400000", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
        self.shell("mount", "-o", "loop", str(image), str(self.target))
        self.shell("sync")

    def release_target(self):
        if os.path.ismount(self.target):
            self.shell("umount", str(self.target))
        (self.work / "target.img").unlink(missing_ok=True)

    def forget_archives(self):
        shutil.rmtree(self.work / "archives")
        (self.work / "archives").mkdir()

    def once(self, program, cold):
        if program.target:
            self.fresh_target()
        program.prepare()
        if cold:
            self.drop_caches()
        directory = program.directory or (self.target if program.target else self.work)
        run = measure(program.command, directory, self.log)
        if program.target:
            start = time.monotonic()
            self.shell("sync", "--file-system", str(self.target))
            run.sync = time.monotonic() - start
        return run

    def compare(self, title, programs, cold=False, size=None, rss_max=64):
        if not cold:
            for program in programs:
                self.once(program, cold)
        for _ in range(self.pairs):
            for program in programs:
                program.runs.append(self.once(program, cold))
        report(title, programs, size, rss_max)


def report(title, programs, size, rss_max):
    print(f"\n{title}")
    print(f"  {'':10} {'wall s':>8} {'least':>8} {'cpu s':>8} {'RSS MiB':>8} {'sync s':>8} {'GB/s':>6} "
          f"{'ratio':>6} {'least':>6} {'cpu':>6}  target")
    ours = programs[0]

    def median(program, key):
        return statistics.median(getattr(run, key) for run in program.runs)

    def least(program):
        return min(run.wall for run in program.runs)

    for program in programs:
        wall, cpu = median(program, "wall"), median(program, "cpu")
        rss = max(run.rss for run in program.runs)
        rate = f"{size / wall / 1e9:6.2f}" if size else f"{'':6}"
        line = f"  {program.name:10} {wall:8.3f} {least(program):8.3f} {cpu:8.3f} {rss:8.1f} " \
               f"{median(program, 'sync'):8.2f} {rate}"
        if program is ours:
            line += f" {'':6} {'':6} {'':6}  RSS <= {rss_max}: {'met' if rss <= rss_max else 'MISSED'}"
            if program.seconds_max:
                met = "met" if wall <= program.seconds_max else "MISSED"
                line += f", wall <= {program.seconds_max} s: {met}"
        else:
            # Runs that stood side by side are compared with each other.
            ratio = statistics.median(a.wall / b.wall for a, b in zip(ours.runs, program.runs))
            line += f" {ratio:6.2f} {least(ours) / least(program):6.2f} {median(ours, 'cpu') / cpu:6.2f}"
            if program.wall_max:
                met = "met" if ratio <= program.wall_max else "MISSED"
                line += f"  <= {program.wall_max}: {met}"
        print(line, flush=True)


TAR = ["tar", "--acls", "--xattrs", "--sparse"]


def dumps(bench, tree, tar_max, dump_max):
    return [
        Program("tapedump", [bench.tapedump, "dump", str(tree), "--live", "--tape", "null:"]),
        Program("tar", [*TAR, "-cf", "/dev/zero", "-C", str(tree), "."], wall_max=tar_max),
        Program("dump", ["dump", "-0", "-b", "64", "-f", "/dev/null", str(bench.source)], wall_max=dump_max),
    ]


def small(bench):
    bench.compare("level 0, small files, warm", dumps(bench, bench.source / "tree", 0.6, 1.0))


def cold(bench):
    bench.compare("level 0, small files, cold", dumps(bench, bench.source / "tree", 0.5, None), cold=True)


def restore(bench):
    archives = bench.work / "archives"
    tree = bench.source / "tree"
    tape, tar, dump = (str(archives / name) for name in ("tape", "tar", "dump"))
    bench.shell(bench.tapedump, "dump", str(tree), "--live", "--tape", tape)
    bench.shell(*TAR, "-cf", tar, "-C", str(tree), ".")
    bench.shell("dump", "-0", "-b", "64", "-f", dump, str(bench.source))
    bench.compare(
        "restore, small files, warm",
        [
            Program("tapedump", [bench.tapedump, "restore", "--to", str(bench.target), "--tape", tape], target=True),
            Program("tar", [*TAR, "-xf", tar], target=True, wall_max=0.8),
            Program("restore", ["restore", "-r", "-b", "64", "-f", dump], target=True, wall_max=0.8),
        ],
    )
    bench.release_target()
    bench.forget_archives()


def incremental(bench):
    """Level 1 to a file, after one file in a thousand has changed: histories, and dumps of level 0, are kept outside."""
    archives = bench.work / "archives"
    tree = bench.source / "tree"
    tapes, dates, marks, used = (archives / name for name in ("tape.0", "dumpdates", "snapshot.0", "snapshot.1"))
    bench.shell(bench.tapedump, "dump", str(tree), "--live", "--level", "0", "--tape", str(tapes))
    bench.shell(*TAR, f"--listed-incremental={marks}", "-cf", "/dev/zero", "-C", str(tree), ".")
    dates.touch()
    bench.shell("dump", "-0", "-u", "-D", str(dates), "-b", "64", "-f", "/dev/null", str(bench.source))
    # What changes within the second of a dump is not certain to be seen by all of them.
    time.sleep(2)
    # By another process: what this one has in memory counts as that of the programs it starts.
    changed = int(subprocess.check_output([Path(__file__).with_name("gen.py"), "touch", tree]))
    bench.shell("sync")
    bench.compare(
        f"level 1, {changed} of the small files changed, warm",
        [
            Program("tapedump", [bench.tapedump, "dump", str(tree), "--live", "--level", "1", "--overwrite",
                                 "--tape", str(archives / "tape.1")]),
            Program("tar", [*TAR, f"--listed-incremental={used}", "-cf", str(archives / "tar.1"), "-C", str(tree), "."],
                    wall_max=0.5, prepare=lambda: shutil.copyfile(marks, used)),
            Program("dump", ["dump", "-1", "-D", str(dates), "-b", "64", "-f", str(archives / "dump.1"),
                             str(bench.source)]),
        ],
    )
    bench.forget_archives()


# Files in the smaller volume; the larger one has ten times as many.
GENERATION_FILES = 50_000


def generations(bench):
    """Level 1 of a btrfs volume after the same 200 changes in a small and in a large one: against what send takes."""
    walls = {}
    for count in (GENERATION_FILES, 10 * GENERATION_FILES):
        walls[count] = generation(bench, count)
    small, large = walls.values()
    met = "met" if abs(large / small - 1) <= 0.2 else "MISSED"
    print(f"  ten times as many files take {large / small:.2f} times as long, +- 0.20: {met}")


def btrfs_volume(bench):
    """A new volume, mounted at the bench's target, and what ends it."""
    image = bench.work / "source.btrfs"
    image.unlink(missing_ok=True)
    bench.shell("truncate", "--size", "8G", str(image))
    bench.shell("mkfs.btrfs", "-q", str(image))
    bench.shell("mount", "-o", "loop,noatime", str(image), str(bench.target))
    volume = bench.target / "volume"
    bench.shell("btrfs", "subvolume", "create", str(volume))

    def end():
        bench.shell("umount", str(bench.target))
        image.unlink()
        bench.forget_archives()

    return volume, end


def contexts(bench):
    """What staying restartable costs: a dump that stores how to go on each second, against one that stores it once."""
    volume, end = btrfs_volume(bench)
    # By another process: what this one has in memory counts as that of the programs it starts.
    for kind, amount in (("small", "200000"), ("large", "256")):
        bench.shell(Path(__file__).with_name("gen.py"), kind, str(volume / kind), amount)
    bench.shell(bench.tapedump, "snapshot", "create", str(volume), "same")
    tape = bench.work / "archives" / "tape"

    def prepare():
        # So that no run writes out what the one before it left.
        tape.unlink(missing_ok=True)
        bench.shell("sync")

    def dump(name, seconds, **targets):
        return Program(name, [bench.tapedump, "dump", str(volume), "--snapshot", "same", "--context-interval", seconds,
                              "--tape", str(tape)], prepare=prepare, **targets)

    bench.compare(
        "level 0 of a btrfs volume, its context stored each second or once, warm",
        [dump("tapedump", "1"), dump("once", "86400", wall_max=1.01)],
    )
    end()


def generation(bench, count):
    """The least wall time of the dump of a volume with so many files."""
    archives = bench.work / "archives"
    volume, end = btrfs_volume(bench)
    # By another process: what this one has in memory counts as that of the programs it starts.
    bench.shell(Path(__file__).with_name("gen.py"), "flat", str(volume), str(count))
    send = [str(bench.target / name) for name in ("before", "after")]
    bench.shell(bench.tapedump, "dump", str(volume), "--tape", str(archives / "tape.0"))
    bench.shell("btrfs", "subvolume", "snapshot", "-r", str(volume), send[0])
    bench.shell(Path(__file__).with_name("gen.py"), "append", str(volume), str(GENERATION_FILES))
    bench.shell(bench.tapedump, "snapshot", "create", str(volume), "after")
    bench.shell("btrfs", "subvolume", "snapshot", "-r", str(volume), send[1])
    bench.shell("sync")
    tapedump = Program("tapedump", [bench.tapedump, "dump", str(volume), "--snapshot", "after", "--level", "1",
                                    "--overwrite", "--tape", str(archives / "tape.1")])
    bench.compare(
        f"level 1 of a btrfs volume of {count} files, 200 of them changed, warm",
        [tapedump, Program("send", ["btrfs", "send", "-q", "-p", *send, "-f", "/dev/null"], wall_max=1.5)],
    )
    said = (bench.work / "log").read_text(errors="replace")
    found = [line for line in said.splitlines() if line.startswith("dumped ")][-1]
    print(f"  {found.split(', to ')[0]}")
    end()
    return min(run.wall for run in tapedump.runs)


def one_file(bench):
    """One file from the middle of a dump, by the catalog, and by the positions that Debian's dump keeps."""
    archives = bench.work / "archives"
    tree = bench.source / "tree"
    tape, dump, positions = (str(archives / name) for name in ("tape", "dump", "positions"))
    bench.shell(bench.tapedump, "dump", str(tree), "--live", "--tape", tape)
    bench.shell("dump", "-0", "-b", "64", "-Q", positions, "-f", dump, str(bench.source))
    wanted = min(path for path in (tree / "t10/s5/d5").glob("f*.dat")
                 if path.stat().st_size > 0 and not path.is_symlink())
    name = str(wanted.relative_to(tree))
    bench.fresh_target()
    places = [bench.target / program for program in ("tapedump", "restore")]

    def emptied(place):
        def prepare():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        return prepare

    programs = [
        Program("tapedump", [bench.tapedump, "restore", name, "--to", ".", "--tape", tape], seconds_max=0.02),
        Program("restore", ["restore", "-x", "-a", "-b", "64", "-Q", positions, "-f", dump, f"./tree/{name}"],
                wall_max=1.0),
    ]
    for program, place in zip(programs, places):
        program.directory, program.prepare = place, emptied(place)
    bench.compare("restore, one of the small files, warm", programs)
    for restored in (places[0] / name, places[1] / "tree" / name):
        if not filecmp.cmp(wanted, restored, shallow=False):
            sys.exit(f"{restored}: it is not what was dumped")
    bench.release_target()
    bench.forget_archives()


def large(bench):
    tree = bench.source / "tree" / "whole"
    files = sorted(str(path) for path in tree.iterdir())
    size = sum(os.path.getsize(path) for path in files)
    programs = [
        dumps(bench, tree, None, None)[0],
        # 0.8 of its throughput.
        Program("cat", ["sh", "-c", 'exec cat "$@" > /dev/null', "cat", *files], wall_max=1.25),
        dumps(bench, tree, None, None)[1],
    ]
    bench.compare("level 0, large files, warm", programs, size=size)


def sparse(bench):
    tree = bench.source / "tree" / "sparse"
    programs = dumps(bench, tree, None, None)[:2]
    bench.compare("level 0, sparse files, warm", programs, size=2 * 64 << 20)


def empty(bench):
    programs = dumps(bench, bench.source / "tree", None, None)
    # Beside what any dump takes: the inode maps, two bits for each of 1.4 million numbers.
    bench.compare("level 0, many empty files, warm", programs)


PARTS = {part.__name__.replace("_", "-"): part
         for part in (small, cold, restore, incremental, generations, contexts, one_file, large, sparse, empty)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tapedump", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("part", choices=PARTS)
    options = parser.parse_args()
    PARTS[options.part](Bench(options))


if __name__ == "__main__":
    main()
