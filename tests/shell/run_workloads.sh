#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every workload runs for a moment, is verified, and says so in its report.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# number KEY FILE: a number of the top level of a report.
number() {
    sed -nE "s/^  \"$1\": ([0-9.eE+-]+),?\$/\1/p" "$2"
}

for workload in bank ring hot ycsb-a ycsb-c ycsb-d ycsb-e ycsb-f; do
    out=$work/$workload
    "$BIN" run --instances 3 --workload "$workload" --seconds 0.3 --blocks 48 --cache 4MiB --json "$out.json" >"$out.txt" 2>&1 ||
        { cat "$out.txt"; echo "run_workloads: $workload failed"; exit 1; }
    grep -q '^  verified: ' "$out.txt"
    grep -q '"verified": true' "$out.json"
    for key in workload instances transport seconds ops ops_per_s blocks_shipped hops2 hops3 disk_reads disk_writes hit_ratio \
        transfers_per_s fairness_ops fairness_transfers waiting_p999_ns latency_ns hit remote2 remote3 disk count p50 p99 p999 max; do
        grep -q "\"$key\":" "$out.json" || { echo "run_workloads: $workload: no $key in the report"; exit 1; }
    done
    [ "$(number ops "$out.json")" -gt 0 ]
    # ycsb-c only reads what node 0 wrote; it ships blocks as well.
    [ "$(number blocks_shipped "$out.json")" -gt 0 ] || { cat "$out.txt"; echo "run_workloads: $workload shipped nothing"; exit 1; }
    sed -n '/verified/p' "$out.txt"
done
[ -z "$(find "$work" "${TMPDIR:-$work}" -name 'cachefusion-*' 2>/dev/null)" ] || { echo "run_workloads: something was left behind"; exit 1; }
