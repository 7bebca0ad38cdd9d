#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Frames lie on huge pages when there are any (hugepages=require), and required ones that are not there are refused by number.
# Reserves some for its own time, where it may; gives back what it took.
set -euo pipefail
reserve=512 # tests beside this one take huge pages too while there are any
pages=/proc/sys/vm/nr_hugepages
before=$(cat "$pages" 2>/dev/null || echo none)
if [ "$before" = none ] || ! echo "$((before + reserve))" 2>/dev/null >"$pages"; then
    echo "huge pages cannot be reserved here: $pages cannot be written"
    exit 77
fi
work=$(mktemp -d)
trap 'echo "$before" >"$pages"; rm -rf "$work"' EXIT
if [ "$(cat "$pages")" -lt "$((before + reserve))" ]; then
    echo "huge pages cannot be reserved here: $(cat "$pages") of $((before + reserve)) are to be had"
    exit 77
fi

# Bytes on huge pages of the processes that the launcher has started, the least of them.
huge_least() {
    local pid least=none bytes
    for pid in $(pgrep -P "$run"); do
        bytes=$(awk '$1 ~ /^(Shared|Private)_Hugetlb:/ { sum += $2 * 1024 } END { printf "%d", sum }' "/proc/$pid/smaps" 2>/dev/null || echo 0)
        [ "$least" != none ] && [ "$least" -le "$bytes" ] || least=$bytes
    done
    [ "$least" = none ] && echo 0 || echo "$least"
}
"$BIN" run --instances 2 --workload bank --seconds 60 --cache 32MiB --set hugepages=require >"$work/out" 2>&1 &
run=$!
until [ "$(huge_least)" -ge $((32 << 20)) ]; do
    kill -0 "$run" 2>/dev/null || { cat "$work/out"; exit 1; }
done
until grep -q 'ops/s' "$work/out"; do
    kill -0 "$run" 2>/dev/null || { cat "$work/out"; exit 1; }
done
kill -INT "$run"
wait "$run" || { cat "$work/out"; exit 1; }
grep -q verified "$work/out"

status=0
"$BIN" run --instances 1 --workload bank --seconds 1 --cache 4GiB --set hugepages=require >"$work/out" 2>&1 || status=$?
[ "$status" -eq 3 ] && grep -qE 'hugepages=require: frames need [0-9]+ pages of 2 MiB, [0-9]+ are free' "$work/out"
echo "hugepages: 2 instances with 32 MiB each on huge pages; 4 GiB refused"
