#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Instances that cache many more blocks than their directories have entries: verified, at the memory that was taken at the
# start, and with no block given up for the directory's sake. RATIO=10 or 100 times by the number of blocks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sizes=(--instances 3 --threads 2 --block-size 2KiB --cache 48MiB --set locks=0 --set outstanding=4 --set close_timeout=60s)

number() {
    sed -nE "s/^  \"$1\": ([0-9.eE+-]+),?\$/\1/p" "$2"
}

# Less than conversations need at once is refused, and the error names the least that is not.
if "$BIN" run "${sizes[@]}" --workload bank --seconds 0.1 --blocks 500 --set directory_bytes=1 >"$work/least.txt" 2>&1; then
    echo "run_cold: a budget of one byte was accepted"
    exit 1
fi
least=$(sed -nE '/CF_BUDGET/s/.* need ([0-9]+) \(.*/\1/p' "$work/least.txt" | head -n 1)
rm -rf "$(sed -nE 's/^ *kept: (.*)/\1/p' "$work/least.txt" | head -n 1)"
[ -n "$least" ] || { cat "$work/least.txt"; echo "run_cold: the error names no least"; exit 1; }

cases=(bank:1500 ycsb-a:1500)
[ "${FULL:-0}" != 1 ] || cases+=(bank:14000 ycsb-a:14000 bank:40000)
for case in "${cases[@]}"; do
    workload=${case%:*} blocks=${case#*:} out=$work/${case/:/-}
    "$BIN" run "${sizes[@]}" --workload "$workload" --seconds "${SECONDS_COLD:-1}" --blocks "$blocks" --set directory_bytes="$least" \
        --json "$out.json" >"$out.txt" 2>&1 || { cat "$out.txt"; echo "run_cold: $case failed"; exit 1; }
    grep -q '"verified": true' "$out.json" || { echo "run_cold: $case is not verified"; exit 1; }
    [ "$(number directory_given_back "$out.json")" -gt 0 ] || { echo "run_cold: $case gave nothing back"; exit 1; }
    [ "$(number directory_rebuilds "$out.json")" -gt 0 ] || { echo "run_cold: $case rebuilt nothing"; exit 1; }
    [ "$(number directory_bytes "$out.json")" -le $((3 * least)) ] || { echo "run_cold: $case went over its budget"; exit 1; }
    # Where all blocks fit the caches (24,576 frames each) none is evicted: the directory takes nobody's copy.
    [ "$blocks" -gt 24000 ] || [ "$(number evicted "$out.json")" = 0 ] || { echo "run_cold: $case evicted blocks"; exit 1; }
    entries=$(number directory_entries "$out.json")
    echo "run_cold: $workload $blocks blocks, $entries entries: $(sed -nE 's/^ *(verified: .*)/\1/p' "$out.txt")"
done
