#!/bin/sh
# Builds the core with everything it offers into a binary without an allocator, a C library or unwinding, checks
# that no allocation function is in it, prints its sizes, and runs it.
set -eu
cd "$(dirname "$0")"
if [ "$(uname -s) $(uname -m)" != "Linux x86_64" ]; then
    echo "freestanding: skipped: the binary is one for Linux on x86_64" >&2
    exit 77
fi
# Flags from outside would take the place of those in .cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET

cargo build --release --quiet --bin tapedump-freestanding
binary=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/tapedump-freestanding

symbols=$(nm -C "$binary")
# The check must see symbols at all: the entry point is one that is always there.
if ! printf '%s\n' "$symbols" | grep -q ' T _start$'; then
    echo "freestanding: nm shows no symbols of $binary" >&2
    exit 1
fi
allocating='__rust_(alloc|dealloc|realloc|alloc_zeroed)|__r(g|dl)_alloc|handle_alloc_error|<?alloc::'
allocating="$allocating|(^| )(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|sbrk|brk|mmap)\$"
if found=$(printf '%s\n' "$symbols" | sed 's/^[0-9a-f ]* [A-Za-z] //' | grep -E "(^|[^A-Za-z0-9_:])($allocating)"); then
    echo "freestanding: the binary can allocate:" >&2
    printf '%s\n' "$found" >&2
    exit 1
fi
if printf '%s\n' "$symbols" | grep -E ' U '; then
    echo "freestanding: the binary needs symbols from outside" >&2
    exit 1
fi

echo "freestanding: no allocation function among $(printf '%s\n' "$symbols" | wc -l) symbols"
size "$binary"
"$binary"
echo "freestanding: ran to its end"
