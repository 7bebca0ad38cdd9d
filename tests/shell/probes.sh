#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Library and command carry the probes that docs/tracing.md lists, with as many arguments; without them nothing is left. The
# examples run where the host lets bpftrace load programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CC=${CC:-gcc}

if ! echo '#include <sys/sdt.h>' | "$CC" -E - >/dev/null 2>&1; then
    echo "sys/sdt.h is not installed (Debian: systemtap-sdt-dev): the probes are not built"
    exit 77
fi

# probe and number of arguments, as the page says
awk -F'|' '/^\| `[a-z_]+` \| / { gsub(/[ `]/, "", $2); n = 0
    for (i = 4; i < NF; i++) { gsub(/ /, "", $i); n += $i != "-" && $i != "" }
    print $2, n }' docs/tracing.md | sort >"$work/page"
[ "$(wc -l <"$work/page")" -ge 5 ]

probes_of() {
    readelf -n "$1" | awk '$1 == "Provider:" { ours = $2 == "cachefusion" } ours && $1 == "Name:" { name = $2 }
        ours && $1 == "Arguments:" { print name, NF - 1 }' | sort -u
}
for file in "$BIN" "$BUILD_DIR/libcachefusion.so"; do
    probes_of "$file" >"$work/found"
    diff "$work/page" "$work/found" || { echo "probes: $file and docs/tracing.md differ"; exit 1; }
done

cat >"$work/one.c" <<'C'
#include "base/probe.h"
void fire(int a);
void fire(int a)
{
    CF_PROBE6(request, a, a, a, a, a, a);
}
C
"$CC" -I. -c "$work/one.c" -o "$work/with.o"
probes_of "$work/with.o" | grep -qx 'request 6'
"$CC" -I. -DCF_PROBES_OFF -c "$work/one.c" -o "$work/without.o"
[ -z "$(probes_of "$work/without.o")" ]

# The examples use probes and arguments that exist.
for script in scripts/bpftrace/*.bt; do
    grep -oE 'cachefusion:cachefusion:[a-z_]+' "$script" | sed 's/.*://' | sort -u | while read -r probe; do
        grep -q "^$probe " "$work/page" || { echo "probes: $script: no probe $probe"; exit 1; }
    done
done

# Each sees a workload that it is made for. A probe that cannot be attached ends bpftrace before it says anything.
example() { # name, workload, what it must print
    local tracer said=no
    sed "s#/usr/local/bin/cachefusion#$(realpath "$BIN")#" "scripts/bpftrace/$1.bt" >"$work/$1.bt"
    : >"$work/$1.out" # the reader below may be there before the tracer
    : >"$work/$1.err"
    timeout -s INT 60 bpftrace -B line "$work/$1.bt" >"$work/$1.out" 2>"$work/$1.err" &
    tracer=$!
    while read -r line; do
        [[ $line != *"Ctrl-C ends" ]] || { said=yes; break; }
    done < <(tail -n +1 -f --pid="$tracer" "$work/$1.out")
    [ "$said" = yes ] || { cat "$work/$1.err"; return 1; }
    "$BIN" run --instances 2 --workload "$2" --seconds 1 >"$work/run"
    kill -INT "$tracer"
    wait "$tracer"
    grep -qE "$3" "$work/$1.out" || { echo "probes: $1.bt printed no '$3':"; cat "$work/$1.out"; return 1; }
}
ran="not run: bpftrace is not installed, or may not load programs here"
if [ "$(bpftrace -e 'BEGIN { printf("may\n"); exit(); }' 2>/dev/null | grep -c '^may$')" = 1 ]; then
    example hops hot '^@two_hops_us'
    example hot-blocks hot '^@shipped\[[0-9]+, [0-9]+, [01], [01]\]: [1-9]'
    example lock-waits locks '^@wait_us\[granted\]'
    ran="run"
fi
echo "probes: $(wc -l <"$work/page") probes in command and library; examples $ran"
