#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tune-host on a made-up root: what --apply changes --undo brings back, byte for byte, and nothing else; without rights nothing
# changes. `cachefusion tune` sees the difference.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
root=$work/root

put() { mkdir -p "$(dirname "$root$1")" && printf '%s\n' "$2" >"$root$1"; }
is() { [ "$(cat "$root$1")" = "$2" ] || { echo "tune_host: $1 is '$(cat "$root$1")', expected '$2'"; exit 1; }; }
tune_host() { scripts/tune-host --root "$root" "$@" >"$work/out" 2>&1; }
expect() { # status, words, arguments
    local status=0 wanted=$1 words=$2
    shift 2
    tune_host "$@" || status=$?
    { [ "$status" -eq "$wanted" ] && grep -qF -- "$words" "$work/out"; } ||
        { cat "$work/out"; echo "tune_host: $*: status $status, expected $wanted and '$words'"; exit 1; }
}
photo() { (cd "$root" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

huge=/sys/kernel/mm/hugepages/hugepages-2048kB
thp=/sys/kernel/mm/transparent_hugepage
cpu=/sys/devices/system/cpu
poll=/sys/module/haltpoll/parameters/guest_halt_poll_ns
limits=/etc/security/limits.d/90-cachefusion-dba.conf
state=$root/var/lib/cachefusion/tune-host.state
put $huge/nr_hugepages 4
put $huge/free_hugepages 4
put $thp/enabled always
put $thp/shmem_enabled never
put $cpu/cpu0/cpufreq/scaling_governor schedutil
put $cpu/cpu1/cpufreq/scaling_governor performance
put $cpu/cpu2/cpufreq/scaling_governor powersave
put /proc/sys/kernel/numa_balancing 1
put $poll 0
put /proc/self/limits 'Max locked memory         65536                65536                bytes'
put /etc/security/limits.d/other.conf '* - nofile 65536'
photo >"$work/before"

# Looking changes nothing.
expect 0 'would be madvise' --show
expect 0 'left alone' --show
photo | diff "$work/before" -
expect 0 'nothing to undo' --undo

# All of it, twice; the second time there is nothing to do.
expect 0 'always -> madvise' --apply --memory 1GiB --user dba
is $huge/nr_hugepages 512
is $thp/enabled madvise
is $thp/shmem_enabled advise
is $cpu/cpu0/cpufreq/scaling_governor performance
is $cpu/cpu2/cpufreq/scaling_governor performance
is /proc/sys/kernel/numa_balancing 0
is $poll 200000
is $limits 'dba - memlock unlimited'
cp "$state" "$work/state"
expect 0 'madvise already' --apply --memory 1GiB --user dba
cmp "$state" "$work/state"
expect 0 'brings back schedutil' --show
"$BIN" tune --root "$root" >"$work/tune"
grep -q '^pass  governor .*all 3 cpus' "$work/tune"
grep -q '^pass  thp ' "$work/tune"
grep -q '^pass  halt-poll .*200 us' "$work/tune"
expect 0 'madvise -> always' --undo
photo | diff "$work/before" -
[ ! -e "$state" ]
"$BIN" tune --root "$root" --json | python3 -c '
import json, sys
checks = {c["name"]: c for c in json.load(sys.stdin)["checks"]}
assert checks["governor"]["verdict"] == "warn" and "schedutil on 2 of 3" in checks["governor"]["seen"], checks
assert checks["governor"]["mend"] and checks["hugepages"]["verdict"] == "warn", checks'

# A part, another state file; more pages, or later changes by somebody else, are left alone.
put $huge/nr_hugepages 9000
expect 0 'nr_hugepages is 9000 already' --apply --only hugepages,thp --memory 512MiB --state "$work/mine"
is $thp/enabled madvise
is $thp/shmem_enabled never
[ ! -e "$state" ]
put $thp/enabled never
expect 1 'left alone' --undo --state "$work/mine"
is $thp/enabled never
is $huge/nr_hugepages 9000
[ ! -e "$work/mine" ]
put $huge/nr_hugepages 4
put $thp/enabled always

# A second --apply with more memory still goes back to the first value.
expect 0 '4 -> 256' --apply --only hugepages --memory 512MiB
expect 0 '256 -> 512' --apply --only hugepages --memory 1GiB
expect 0 '512 -> 4' --undo
photo | diff "$work/before" -

# What is not ours is not overwritten.
put $limits 'dba - memlock 65536'
expect 1 'not ours' --apply --only memlock --user dba
is $limits 'dba - memlock 65536'
rm "$root$limits"

# A part of a crash: recorded, not changed.
mkdir -p "$(dirname "$state")"
printf '%s\t%s\t%s\n' $thp/enabled always madvise >"$state"
expect 0 'always already' --undo
photo | diff "$work/before" -

expect 2 'no size' --apply --memory much
expect 2 'none of' --apply --only nothing
expect 2 'needs a value' --apply --memory
expect 2 'unknown' --apply --force
expect 2 'is needed' --memory 1GiB
expect 2 'one of' --apply --undo
expect 2 'no name' --apply --user 'a b'
expect 0 'exit status' --help

# Without rights nothing changes; root may write everything, so it gives that right up.
chmod 444 "$root$thp/enabled"
as_other=()
[ "$(id -u)" -ne 0 ] || as_other=(setpriv --bounding-set=-dac_override,-dac_read_search)
status=0
"${as_other[@]}" scripts/tune-host --root "$root" --apply >"$work/out" 2>&1 || status=$?
{ [ "$status" -eq 3 ] && grep -q 'nothing was changed. Run it as root' "$work/out"; } || { cat "$work/out"; exit 1; }
chmod 644 "$root$thp/enabled"
photo | diff "$work/before" -
echo "tune_host: applied, undone, refused"
