#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A data file outlives runs: made when missing, taken up where it was, refused for another workload; other block
# sizes; several clients an instance; more blocks than frames.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run() {
    "$BIN" run --instances 2 --seconds 0.4 --cache 2MiB "$@"
}

run --workload bank --data "$work/bank.cf" --blocks 64 | grep -q verified
"$BIN" check --data "$work/bank.cf"
run --workload bank --data "$work/bank.cf" --instances 3 --threads 2 --seed 9 | grep -q verified
"$BIN" check --data "$work/bank.cf"

status=0
run --workload hot --data "$work/bank.cf" >"$work/out" 2>&1 || status=$?
[ "$status" -eq 3 ] && grep -q 'prepared for workload bank' "$work/out"

run --workload ycsb-a --block-size 2KiB --blocks 100 --threads 2 | grep -q verified
run --workload ycsb-a --block-size 32KiB --blocks 50 --threads 2 --cache 8MiB | grep -q verified
# 200 blocks in caches of 64 frames: blocks are evicted and read again all the time.
run --workload bank --blocks 200 --cache 512KiB --set outstanding=16 --json "$work/small.json" | grep -q verified
grep -qE '"evicted": [1-9]' "$work/small.json"
echo "run_again: files are taken up, other block sizes and small caches hold"
