#!/bin/bash
# The core and the firmware on other machines: compiled for seven bare targets, its tests run on a big-endian one, the
# firmware run on two emulated boards, the tapes that come of it read by the host program and by Debian's restore, its
# sizes held against budget.txt. setup.sh installs what this needs.
#
# Ends with "N passed, N failed". Where a tool is missing it says so and does nothing, except in CI (CI=true): there
# that is a failure.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$root" || exit 1

passed=0
failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# check NAME COMMAND...: runs it; what it prints is shown only when it fails, or when it begins with a star.
check() {
    local name=$1 began=$SECONDS
    shift
    if "$@" >"$work/output" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name ($((SECONDS - began)) s)"
        grep '^\*' "$work/output" | sed 's/^\*/       /'
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        tail -n 60 "$work/output"
    fi
}

missing=()
for tool in /usr/bin/rustc /usr/bin/cargo ld.lld-22 llvm-nm-22 llvm-size-22 qemu-system-arm qemu-system-riscv32 \
    qemu-s390x s390x-linux-gnu-gcc restore "$tools/bin/defmt-print"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
[ -d /usr/lib/rustlib/src/rust/library ] || missing+=(rust-web-src)
if [ ${#missing[@]} -gt 0 ]; then
    echo "cross: skipped, not installed: ${missing[*]} (tests/cross/setup.sh installs them)"
    if [ "${CI:-}" = true ]; then
        echo "0 passed, 1 failed"
        exit 1
    fi
    exit 0
fi

bare=(thumbv6m-none-eabi thumbv7em-none-eabihf thumbv8m.main-none-eabihf riscv32imac-unknown-none-elf
    aarch64-unknown-none x86_64-unknown-none armebv7r-none-eabi)
targets=()
for target in "${bare[@]}"; do targets+=(--target "$target"); done
big_endian=s390x-unknown-linux-gnu

# Core and the example of the integrating guide, without and with defmt.
compile() {
    cross_cargo check --locked -Zbuild-std=core -p tapedump-core --lib --example firmware "${targets[@]}" "$@"
}

# Without the one test whose size is what matters: emulated, it takes minutes.
test_big_endian() {
    cross_cargo test --locked -Zbuild-std=std,panic_unwind,test -p tapedump-core --lib --target $big_endian \
        -- --skip a_million_files >"$work/tests" 2>&1 || { cat "$work/tests"; return 1; }
    # The test must have been among them.
    grep -q 'the_bytes_of_a_tape_are_the_same_on_every_machine ... ok' "$work/tests" || return 1
    sed -n 's/^test result: ok\. \([0-9]* passed\).*/*\1 on s390x/p' "$work/tests"
}

demo_native() {
    cargo run --locked --quiet -p tapedump-firmware-sim -- "$work/native"
}

demo_big_endian() {
    cross_cargo run --locked -Zbuild-std=std,panic_unwind,test -p tapedump-firmware-sim --target $big_endian \
        -- "$work/big-endian" && same_tapes "$work/big-endian"
}

same_tapes() {
    local tape
    for tape in demo.tape demo-1.tape demo-2.tape pair-001 pair-002; do
        cmp "$work/native/$tape" "$1/$tape" || return 1
    done
}

# firmware TARGET NAME QEMU...
firmware() {
    local target=$1 name=$2 image dir=$work/$2
    shift 2
    cross_cargo build --locked -Zbuild-std=core -Zbuild-std-features=optimize_for_size --profile firmware -p tapedump-firmware-sim --target "$target" || return 1
    image=$cross_target/$target/firmware/tapedump-firmware-sim
    mkdir -p "$dir"
    # A board that hangs is given up.
    (cd "$dir" && timeout 300 "$@" -nographic -monitor none -serial none \
        -semihosting-config enable=on,target=native -kernel "$image" >log.bin)
    local code=$?
    "$tools/bin/defmt-print" -e "$image" <"$dir/log.bin" >"$dir/log" || return 1
    cat "$dir/log"
    [ $code -eq 0 ] || { echo "the board ended with $code"; return 1; }
    grep -q 'INFO  Passed' "$dir/log" || return 1
    same_tapes "$dir" && sizes "$image" "$name" "$dir/log"
}

# Bytes of a symbol.
symbol() {
    printf '%d' "0x$(llvm-nm-22 -C --print-size "$1" | awk -v name="$2\$" '$4 ~ name { print $2 }')"
}

# Bytes of sections, by name.
sections() {
    local image=$1
    shift
    llvm-size-22 -A "$image" | awk -v names=" $* " 'index(names, " " $1 " ") { sum += $2 } END { print sum + 0 }'
}

# Bytes of code and constants that are the engines': all of the core without its devices, and what drives it (dump and
# restore of one step, the rules of chains and the opening of catalogs are inlined there).
engine_code() {
    llvm-nm-22 -C --print-size "$1" | awk '$3 ~ /^[tTrR]$/ { print $2, $0 }' |
        sed -nE -e 's/^([0-9a-f]+) [0-9a-f]+ [0-9a-f]+ . <?(tapedump_core::(engine|stream|record|catalog|chain|context|checksum|units)|tapedump_firmware_sim::(engine|contexts))::.*/\1/p' \
            -e 's/^([0-9a-f]+) [0-9a-f]+ [0-9a-f]+ . <tapedump_firmware_sim::demo::Demo<.*>>::(base|record|level|catalogs|look_up)(::.*)?$/\1/p' |
        { total=0; while read -r bytes; do total=$((total + 0x$bytes)); done; echo "$total"; }
}

# within NAME WHAT BYTES: prints, and compares with the budget.
within() {
    local limit
    limit=$(awk -v name="$1" -v what="$2" '$1 == name && $2 == what { print $3 }' "$here/budget.txt")
    echo "*$2: $3 bytes, budget ${limit:-not recorded}"
    [ -n "$limit" ] && [ "$3" -le "$limit" ]
}

# What there is of the core and what is to come, by the budget: together within the limit.
whole_budget() {
    awk '
        $2 == "engines" { flash[$1] += $3 }
        $2 == "ram" { ram[$1] += $3 }
        $2 ~ /^later:/ { flash[$1] += $3; ram[$1] += $4 }
        $2 == "limit" { most_flash[$1] = $3; most_ram[$1] = $4; boards++ }
        END {
            for (board in most_flash) {
                printf "*%s: flash %d of %d, RAM %d of %d\n", board, flash[board], most_flash[board], ram[board], most_ram[board]
                over += flash[board] > most_flash[board] || ram[board] > most_ram[board]
            }
            exit boards != 2 || over
        }' "$here/budget.txt"
}

# sizes IMAGE NAME LOG
sizes() {
    local image=$1 name=$2 flash engines variables disk lent stack records good=0
    # What the demonstration's disks hold at first is no part of the firmware, and neither are they.
    flash=$(($(sections "$image" .vector_table .text .text.dummy .init.rust .rodata .data) - $(symbol "$image" DISK_NODES)))
    variables=$(sections "$image" .data .bss .uninit)
    disk=$(($(symbol "$image" DISK_NODES) + $(symbol "$image" DISK_ARENAS)))
    lent=$(symbol "$image" ENGINE_WORK)
    stack=$(sed -n 's/.*stack: \([0-9]*\) bytes.*/\1/p' "$3")
    records=$(sed -n 's/.*Memory {.*records: \([0-9]*\).*/\1/p' "$3")
    [ "$disk" -gt 0 ] && [ "$lent" -gt 0 ] && [ -n "$stack" ] && [ -n "$records" ] || return 1
    if llvm-nm-22 "$image" | grep -E '__rust_(alloc|dealloc|realloc)|__rdl_|__rg_'; then
        echo "an allocator is linked"
        return 1
    fi
    engines=$(engine_code "$image")
    within "$name" flash "$flash" || good=1
    within "$name" engines "$engines" || good=1
    echo "*    the rest: demonstration and its volumes, faults, log, devices, start-up: $((flash - engines))"
    within "$name" static "$((variables - disk))" || good=1
    echo "*    of which lent to the engines: $lent, of that for tape records of blocking factor 32: $records"
    echo "*    not counted: the demonstration's disks in RAM, $disk"
    within "$name" stack "$stack" || good=1
    within "$name" ram "$((variables - disk + stack))" || good=1
    return $good
}

# The tapes that a board left, by the host program and by Debian's restore: both see the trees that the board dumped, that
# of level 0, that of the chain, and that once more of the dump on two tapes.
host_reads() {
    local dir=$1 tapedump=${CARGO_TARGET_DIR:-$root/target}/debug/tapedump
    cargo build --locked --quiet -p tapedump --bin tapedump || return 1
    "$tapedump" list --tape "$dir/demo.tape" >"$work/listing" || return 1
    grep -q pattern "$work/listing" || return 1
    for tape in demo demo-1 demo-2; do
        "$tapedump" verify --tape "$dir/$tape.tape" || return 1
    done
    rm -rf "$work/ours" "$work/our-chain" && mkdir "$work/ours" "$work/our-chain"
    "$tapedump" restore --tape "$dir/demo.tape" --to "$work/ours" || return 1
    [ "$(stat -c %s "$work/ours/pattern" "$work/ours/etc/sparse" | xargs)" = "5000 3000000" ] || return 1
    "$tapedump" restore --tape "$dir/demo-2.tape" --base "$dir/demo-1.tape" --base "$dir/demo.tape" \
        --to "$work/our-chain" || return 1
    [ "$(cat "$work/our-chain/etc/linked" "$work/our-chain/new")" = "three names, and changedas it was " ] || return 1
    [ -e "$work/our-chain/etc/second" ] && [ ! -e "$work/our-chain/boot/1025" ] || return 1
    # Cut off, gone on with, and on two tapes: all that the chain gives.
    "$tapedump" verify --tape "$dir/pair-001" --tape "$dir/pair-002" || return 1
    rm -rf "$work/our-pair" && mkdir "$work/our-pair"
    "$tapedump" restore --tape "$dir/pair-001" --tape "$dir/pair-002" --to "$work/our-pair" || return 1
    same_trees "$work/our-chain" "$work/our-pair"
}

# All objects below a directory: kind, permissions, owner, time, target of a link, and the checksum of a file. Not sockets,
# which Debian's restore does not make, nor the directory with an ACL, of which it knows nothing.
tree() {
    (cd "$1" && find . -mindepth 1 ! -type s ! -path ./etc/deep -printf '%y %m %U:%G %Ts %p -> %l\n' | sort -k 5 &&
        find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

# same_trees OURS THEIRS
same_trees() {
    tree "$1" >"$work/ours.tree" && tree "$2" >"$work/theirs.tree" || return 1
    [ "$(grep -c . "$work/ours.tree")" -gt 20 ] && diff "$work/ours.tree" "$work/theirs.tree"
}

debian_reads() {
    local dir=$1 theirs=$work/theirs symbols=$work/restoresymtable
    rm -rf "$theirs" && mkdir "$theirs"
    (cd "$theirs" && restore -r -b 32 -f "$dir/demo.tape") && mv "$theirs/restoresymtable" "$symbols" || return 1
    same_trees "$work/ours" "$theirs" && mv "$symbols" "$theirs/" || return 1
    for tape in demo-1 demo-2; do
        (cd "$theirs" && restore -r -b 32 -f "$dir/$tape.tape") || return 1
    done
    rm "$theirs/restoresymtable" && same_trees "$work/our-chain" "$theirs" || return 1
    rm -rf "$theirs" && mkdir "$theirs"
    # It numbers the tapes itself.
    (cd "$theirs" && restore -r -M -b 32 -f "$dir/pair-") || return 1
    rm "$theirs/restoresymtable" && same_trees "$work/our-pair" "$theirs"
}

check 'core for seven bare targets' compile
check 'core for seven bare targets, with defmt' compile --features tapedump-core/defmt
check 'the example of the integrating guide, natively' \
    cargo run --locked --quiet -p tapedump-core --example firmware
check 'tests of the core on a big-endian machine' test_big_endian
check 'demonstration, natively' demo_native
check 'demonstration on a big-endian machine: the same tapes' demo_big_endian
check 'demonstration on Cortex-M4 (mps2-an386): the same tapes' \
    firmware thumbv7em-none-eabihf cortex-m qemu-system-arm -M mps2-an386
check 'demonstration on RISC-V (virt): the same tapes' \
    firmware riscv32imac-unknown-none-elf riscv qemu-system-riscv32 -M virt -m 128M -bios none
check 'the budget, with the parts to come' whole_budget
check "the host program reads the board's tapes" host_reads "$work/cortex-m"
check "Debian's restore reads the board's tapes, and brings back the same" debian_reads "$work/cortex-m"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
