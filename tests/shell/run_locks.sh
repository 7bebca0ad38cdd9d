#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Workloads locks and sequence: what is reported holds, what is wrong is refused by name, a death is told and nobody
# hangs.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

# report NAME ARGUMENTS...: a short run of three instances that must be verified.
report() {
    local name=$1
    shift
    "$BIN" run --instances 3 --cache 4MiB --json "$work/$name.json" "$@" >"$work/$name.txt" 2>&1 ||
        { cat "$work/$name.txt"; echo "run_locks: $name failed"; exit 1; }
    sed -n '/verified/p' "$work/$name.txt"
}

# holds NAME EXPRESSION...: each is true of the report.
holds() {
    python3 - "$work/$1.json" "${@:2}" <<'END'
import json, sys
r = json.load(open(sys.argv[1], encoding="utf-8"))
for expression in sys.argv[2:]:
    if not eval(expression, {"r": r}):
        keys = ("ops", "begun", "deadlocks", "victims", "told_timeout", "phantom", "missing", "highest", "messages_per_number")
        sys.exit(f"run_locks: not so: {expression}; " + ", ".join(f"{k} {r.get(k)}" for k in keys))
END
}

report sequence --workload sequence --seconds 0.5 --numbers 50 --threads 2
holds sequence 'r["verified"] is True' 'r["ops"] > 1000' 'r["duplicates"] == 0' 'r["missing"] <= 3 * 50' \
    'r["highest"] == r["ops"] + r["missing"]' 'r["longest_gap"] <= r["missing"]' '0 < r["messages_per_number"] < 1' \
    'r["operation_ns"]["count"] == r["ops"]'
report ordered --workload sequence --ordered --seconds 0.5 --threads 2
holds ordered 'r["ops"] > 100' 'r["duplicates"] == 0' 'r["missing"] == 0' 'r["out_of_order"] == 0' 'r["highest"] == r["ops"]'
report locks --workload locks --seconds 2 --threads 2
holds locks 'r["verified"] is True' 'r["ops"] > 0' 'r["begun"] == r["ops"] + r["victims"] + r["told_timeout"]' \
    'r["deadlocks"] == r["victims"] > 0' 'r["phantom"] == 0' 'r["overlaps"] == 0' \
    'r["detect_ms"]["count"] == r["victims"]' 'r["detect_ms"]["p50"] <= r["detect_ms"]["p99"] <= r["detect_ms"]["max"] * 1.1' \
    'r["locks_taken"] > r["ops"]'
report alone --workload locks --seconds 0.2 --hot-locks 2 --instances 1
holds alone 'r["ops"] > 100' 'r["victims"] + r["told_timeout"] == 0'

# refused WORDS ARGUMENTS...
refused() {
    local words=$1 status=0
    shift
    "$BIN" run --seconds 0.1 "$@" >"$work/out" 2>&1 || status=$?
    [ "$status" -eq 2 ] || { cat "$work/out"; echo "run_locks: $*: status $status, expected 2"; exit 1; }
    grep -qi -- "$words" "$work/out" || { cat "$work/out"; echo "run_locks: $*: does not say '$words'"; exit 1; }
}
refused 'hot-locks' --workload locks --hot-locks 1
refused 'hot-locks' --workload locks --hot-locks 65
refused 'hot-locks' --workload locks --hot-locks some
refused 'numbers' --workload sequence --numbers 0
refused 'numbers' --workload sequence --numbers 2000000
refused 'ordered' --workload sequence --ordered=perhaps
refused 'locks and sequence' --workload lock
status=0
"$BIN" run --workload locks --instances 2 --cache 4MiB --seconds 0.1 --set locks=0 --data "$work/none.cf" >"$work/out" 2>&1 || status=$?
{ [ "$status" -eq 3 ] && grep -q 'option locks is 0' "$work/out"; } || { cat "$work/out"; exit 1; }
status=0
printf '[cluster]\nnodes = 1\n' >"$work/cluster.ini"
"$BIN" instance --workload locks --config "$work/cluster.ini" --data "$work/none" >"$work/out" 2>&1 || status=$?
{ [ "$status" -eq 2 ] && grep -q 'cachefusion run' "$work/out"; } || { cat "$work/out"; exit 1; }

for workload in locks sequence; do
    : >"$work/out"
    "$BIN" run --instances 3 --workload "$workload" --cache 4MiB --seconds 60 --data "$work/$workload.cf" --json "$work/json" >"$work/out" 2>&1 &
    pid=$!
    timeout 30 grep -qm1 'ops/s' <(tail -fn +1 --pid="$pid" "$work/out") || { cat "$work/out"; exit 1; }
    victim=$(pgrep -P "$pid" -f -- '--node 1 ' | head -1)
    [ -n "$victim" ]
    begin=$(date +%s)
    kill -KILL "$victim"
    status=0
    wait "$pid" || status=$?
    pid=
    took=$(($(date +%s) - begin))
    { [ "$status" -eq 3 ] && [ "$took" -le 15 ] &&
        grep -q "node 1 (pid $victim) was killed by signal 9 (SIGKILL)" "$work/out" &&
        grep -qE 'node [02] \(pid [0-9]+\) stopped: .*CF_PEER_LOST' "$work/out" &&
        grep -q '"verified": false' "$work/json"; } ||
        { cat "$work/out"; echo "run_locks: $workload: status $status after $took s"; exit 1; }
done
[ -z "$(find "$work" "${TMPDIR:-$work}" -name 'cachefusion-*' 2>/dev/null)" ] || { echo "run_locks: something was left behind"; exit 1; }
echo "run_locks: sums hold, numbers come once, a death is told"
