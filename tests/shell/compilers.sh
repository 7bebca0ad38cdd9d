#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A seed gives the same trace with gcc and with clang (I-27). In the full run: the simulator is built by the other compiler.
set -euo pipefail
seeds=20
if [ "$FULL" != 1 ]; then
    echo "builds the simulator a second time: in make test-full"
    exit 77
fi
command -v clang >/dev/null && command -v gcc >/dev/null || { echo "gcc and clang are not both installed"; exit 77; }
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
for compiler in gcc clang; do
    make -s -j2 BUILD="$build/$compiler" CONFIG=release CC="$compiler" "$build/$compiler/release/cachefusion-sim" >"$build/log" 2>&1 ||
        { tail -20 "$build/log"; exit 1; }
done
for seed in $(seq "$seeds"); do
    line=
    for compiler in gcc clang; do
        said=$("$build/$compiler/release/cachefusion-sim" sim --seed "$seed" --quiet | tail -1)
        [ -z "$line" ] || [ "$line" = "$said" ] || { printf '%s\n' "seed $seed differs:" "$line" "$said"; exit 1; }
        line=$said
    done
done
echo "compilers: $seeds seeds, the same traces with gcc and clang"
