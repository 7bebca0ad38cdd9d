#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The program of the documentation compiles as a stranger would compile it, and three instances share a block.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case $(basename "$BUILD_DIR") in
asan | tsan)
    echo "a plain program cannot load a library built with a sanitizer"
    exit 77
    ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

${CC:-gcc} -std=gnu11 -Wall -Wextra -Werror -Iinclude docs/example.c -o "$work/example" -pthread \
    -L"$BUILD_DIR" -lcachefusion -Wl,-rpath,"$(realpath "$BUILD_DIR")"
"$BIN" mkfs --data "$work/data.cf" --blocks 16 --file-id 1 >"$work/mkfs.out"
mkdir "$work/net"
timeout 60 "$work/example" "$work/data.cf" "$work/net" | tee "$work/out"
[ "$(grep -c 'changed by instance 0, not yet on storage' "$work/out")" -eq 3 ]
[ "$(sed -E "s/.*version ([0-9]+):.*/\\1/" "$work/out" | sort -u | wc -l)" -eq 1 ]
"$BIN" check --data "$work/data.cf"
echo "example: three instances read one version, the file is whole"
