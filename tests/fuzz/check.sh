#!/bin/bash
# Fuzzes all that reads what others wrote: each target for some seconds, from the corpus in the tree. See README.md.
#
# usage: check.sh [-s SECONDS] [-r] [TARGET...]        20 seconds each, all targets
#   -r   only runs what is in the corpus, once
#
# Stable Rust and a C++ compiler suffice; without one it ends with code 77, except where CI is true. New inputs are not kept,
# inputs that fail are, and are named.
set -euo pipefail
cd "$(dirname "$0")"

seconds=20 runs=-1
while getopts s:r option; do
    case $option in
        s) seconds=$OPTARG ;;
        r) runs=0 ;;
        *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(record stream restore catalog history context)

if ! command -v c++ > /dev/null; then
    echo "fuzz: there is no C++ compiler, which libFuzzer is built with (Debian package g++)" >&2
    [ "${CI-}" != true ] || exit 1
    exit 77
fi

# What cargo-fuzz gives to nightly compilers, without the sanitizer: nothing here is unsafe.
coverage=(--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares)
# Flags for a named target are not given to build scripts and macros, which have no use for the instrumentation.
host=$(rustc -vV | sed -n 's/^host: //p')
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
export RUSTFLAGS="${coverage[*]}"
cargo build --quiet --release --locked --target "$host" --bins
cargo clippy --quiet --release --locked --target "$host" --all-targets -- -D warnings
cargo fmt --check
built=${CARGO_TARGET_DIR:-target}/$host/release

found=${CARGO_TARGET_DIR:-target}/found
mkdir -p "$found"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fuzz() { # fuzz TARGET
    mkdir "$scratch/$1"
    local status=0
    # An input may take 10 seconds, some thousand times what one takes, and the process 1 GiB.
    "$built/$1" -max_total_time="$seconds" -runs="$runs" -timeout=10 -rss_limit_mb=1024 -max_len=98304 \
        -artifact_prefix="$found/$1-" "$scratch/$1" "corpus/$1" > "$scratch/$1.log" 2>&1 || status=$?
    if [ $status -eq 0 ]; then
        echo "fuzz: $1: $(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 inputs in \2 s/p' "$scratch/$1.log")," \
            "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$scratch/$1.log" | tail -1) places covered"
    else
        grep -A 30 'panicked at\|ERROR: libFuzzer' "$scratch/$1.log" | head -60 >&2 || tail -20 "$scratch/$1.log" >&2
        echo "fuzz: $1: failed; again with: $(realpath "$built/$1") $(realpath "$(ls -t "$found/$1"-* | head -1)")" >&2
    fi
    return $status
}

# As many at once as there are processors.
failed=0 running=0
for target in "${targets[@]}"; do
    if [ $running -ge "$(nproc)" ]; then
        wait -n || failed=$((failed + 1))
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    wait -n || failed=$((failed + 1))
    running=$((running - 1))
done
echo "fuzz: $((${#targets[@]} - failed)) targets passed, $failed failed"
[ $failed -eq 0 ]
