#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `make install` puts under DESTDIR is enough for strangers: a program that opens the library at run time,
# one that pkg-config compiles, exported names that all begin with cf_, and the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case $(basename "$BUILD_DIR") in
asan | tsan)
    echo "a plain program cannot load a library built with a sanitizer"
    exit 77
    ;;
esac
abi=$(sed -n 's/^#define CF_ABI \([0-9]*\)u$/\1/p' include/cachefusion/cachefusion.h)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build=$(dirname "$BUILD_DIR")
config=$(basename "$BUILD_DIR")

env -u MAKEFLAGS -u MFLAGS make --no-print-directory BUILD="$build" CONFIG="$config" DESTDIR="$work/root" PREFIX=/opt/cf \
    install >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
lib=$work/root/opt/cf/lib

cat >"$work/open.c" <<'END'
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    const char *(*version)(void);
    uint32_t (*abi)(void);

    if (library == NULL)
        return fprintf(stderr, "dlopen: %s\n", dlerror()), 1;
    *(void **)&version = dlsym(library, "cf_version");
    *(void **)&abi = dlsym(library, "cf_abi_version");
    if (version == NULL || abi == NULL || dlsym(library, "eng_turn") != NULL)
        return fprintf(stderr, "dlsym: a name is missing, or one is there that should not be\n"), 1;
    printf("%s %u\n", version(), abi());
    return dlclose(library);
}
END
${CC:-gcc} -std=gnu11 -Wall -Wextra -Werror "$work/open.c" -o "$work/open" -ldl
[ "$("$work/open" "$lib/libcachefusion.so.0")" = "0.1.0 $abi" ]

strangers=$(nm -D --defined-only "$lib/libcachefusion.so" | awk '$2 != "A" { print $3 }' | grep -v '^cf_' || true)
[ -z "$strangers" ] || { echo "exported without cf_: $strangers"; exit 1; }
readelf -d "$lib/libcachefusion.so" | grep -q 'SONAME.*libcachefusion\.so\.0'

read -ra flags <<<"$(PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root pkg-config --cflags --libs cachefusion)"
${CC:-gcc} -std=gnu11 -Wall -Wextra -Werror docs/example.c -o "$work/example" -pthread "${flags[@]}"
ldd_out=$(LD_LIBRARY_PATH=$lib ldd "$work/example")
grep -q "$lib/libcachefusion.so.0" <<<"$ldd_out"

"$work/root/opt/cf/bin/cachefusion" version >"$work/version"
[ "$(head -1 "$work/version")" = "cachefusion 0.1.0 (abi $abi)" ]
# The installed command finds the installed module.
if pkg-config --exists libdpdk; then
    grep -qx 'transports: .* dpdk:' "$work/version"
fi
# It measures with the installed programs.
"$work/root/opt/cf/bin/cachefusion" bench micro-hist --quick --repeats 1 --warm-ups 0 >"$work/bench" ||
    { cat "$work/bench"; exit 1; }
grep -Eq '^  hist/add +cachefusion +[0-9.]+ ns' "$work/bench"
env -u MAKEFLAGS -u MFLAGS make --no-print-directory BUILD="$build" CONFIG="$config" DESTDIR="$work/root" PREFIX=/opt/cf uninstall >/dev/null
left=$(find "$work/root" -type f -o -type l)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
echo "install: opened at run time, compiled by pkg-config, removed without a trace"
