#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A running instance tells its state to status and top; afterwards both say that it is gone.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

: >"$work/out"
"$BIN" run --instances 2 --workload hot --seconds 60 --status >"$work/out" 2>&1 &
pid=$!
timeout 30 grep -qm1 'ops/s' <(tail -fn +1 --pid="$pid" "$work/out") || { cat "$work/out"; exit 1; }
socket=$(sed -nE 's/.*status --socket (.*node1.*)$/\1/p' "$work/out")
[ -S "$socket" ]
"$BIN" status --socket "$socket" | tee "$work/status"
grep -q '^node 1 ' "$work/status"
grep -q '^members: 0 1$' "$work/status"
grep -q 'blocks held: ' "$work/status"
"$BIN" status --config "$(dirname "$socket")/cluster.ini" --node 0 | grep -q '^node 0 '
"$BIN" status --socket "$socket" --json | python3 -c 'import json, sys; s = json.load(sys.stdin); assert s["node"] == 1 and s["counters"]["gets"] > 0, s'
"$BIN" status --socket "$socket" --json | python3 -c '
import json, sys
hot = json.load(sys.stdin)["hot"]
assert 0 < len(hot) <= 20, hot
assert {w["node"] for w in hot[0]["who"]} == {0, 1}, hot[0]
assert all(a["s"] + a["x"] >= b["s"] + b["x"] for a, b in zip(hot, hot[1:])), hot'
"$BIN" status --socket "$socket" | grep -Eq 'file [0-9]+ block [0-9]+ +lately +[0-9]+ S +[0-9]+ X  by  [01] \('
grep -Eq '^directory: [1-9][0-9]* entries, [1-9][0-9]* bytes; summary of [1-9][0-9]* bytes: 0 blocks given back' "$work/status"
for line in '  evicted ' '  rebuilt ' '  rebuild ' '  freeze '; do
    grep -q "^$line" "$work/status" || { cat "$work/status"; echo "run_status: no line of $line"; exit 1; }
done
"$BIN" top --socket "$socket" --every 0.2 --count 2 </dev/null | tee "$work/top"
[ "$(grep -c 'gets/s' "$work/top")" -eq 2 ]
[ "$(grep -cE 'masters [0-9]+ buckets, [0-9.]+ % of [0-9]+ grants/s its own, 0 given, 0 taken$' "$work/top")" -eq 2 ]

kill -INT "$pid"
wait "$pid"
pid=
status=0
"$BIN" status --socket "$socket" >"$work/gone" 2>&1 || status=$?
[ "$status" -eq 3 ] && grep -q 'is the instance running' "$work/gone"
echo "run_status: asked while it ran, and told when it was gone"
