#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# While transactions run into deadlocks, the detector's instance tells who waits for whom; another one tells where to ask.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

: >"$work/out"
"$BIN" run --instances 2 --threads 2 --workload locks --hot-locks 4 --seconds 60 --status >"$work/out" 2>&1 &
pid=$!
timeout 30 grep -qm1 'status --socket .*node1' <(tail -fn +1 --pid="$pid" "$work/out") || { cat "$work/out"; exit 1; }
first=$(sed -nE 's/.*status --socket (.*node0.*)$/\1/p' "$work/out")
second=$(sed -nE 's/.*status --socket (.*node1.*)$/\1/p' "$work/out")
for ((i = 0; i < 600; i++)); do # at first there is no socket, or one that does not listen yet
    "$BIN" status --socket "$first" --waits >"$work/waits" 2>"$work/error" || { grep -qE 'is the instance running|the instance is gone' "$work/error"; continue; }
    ! grep -q '^  .* waits for lock .* of instance ' "$work/waits" || cp "$work/waits" "$work/edges"
    ! grep -q '^deadlock [0-9]*, .* ended: .* waits for lock .*; .* waits for lock ' "$work/waits" || cp "$work/waits" "$work/cycles"
    [ ! -s "$work/edges" ] || [ ! -s "$work/cycles" ] || break
done
cat "$work/edges" "$work/cycles"
grep -q '^deadlock detector on node 0: round [0-9]*, ' "$work/edges"
"$BIN" status --socket "$first" --dot >"$work/graph"
grep -q '^digraph waits {$' "$work/graph"
[ "$(tail -n 1 "$work/graph")" = '}' ]
if grep -vE '^(digraph waits \{|\}|  ".*" -> ".*" \[label=".*"\];)$' "$work/graph"; then exit 1; fi
"$BIN" status --socket "$first" --json | python3 -c 'import json, sys; s = json.load(sys.stdin); assert s["waits"]["here"] and s["counters"]["detect_rounds"] > 0, s'
status=0
"$BIN" status --socket "$second" --waits >"$work/other" 2>&1 || status=$?
[ "$status" -eq 3 ] && grep -q 'the deadlock detector is on node 0' "$work/other"

kill -INT "$pid"
wait "$pid"
pid=
echo "run_waits: the graph of waits and the deadlocks were told where the detector is"
