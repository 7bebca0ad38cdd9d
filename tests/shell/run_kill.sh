#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An instance is killed: run says which and by what, the others stop by themselves, the status is not 0, and the file
# is refused afterwards until its losses are accepted.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

: >"$work/out"
"$BIN" run --instances 3 --workload bank --blocks 64 --seconds 60 --data "$work/bank.cf" --status --json "$work/json" >"$work/out" 2>&1 &
pid=$!
# The first line of progress tells that all are at work.
timeout 30 grep -qm1 'ops/s' <(tail -fn +1 --pid="$pid" "$work/out") || { cat "$work/out"; exit 1; }
victim=$(pgrep -P "$pid" -f -- '--node 1 ' | head -1)
[ -n "$victim" ]
begin=$(date +%s)
kill -KILL "$victim"
status=0
wait "$pid" || status=$?
pid=
took=$(($(date +%s) - begin))
cat "$work/out"
[ "$status" -eq 3 ]
[ "$took" -le 10 ] || { echo "run_kill: took $took s"; exit 1; }
grep -q "node 1 (pid $victim) was killed by signal 9 (SIGKILL)" "$work/out"
grep -qE 'node [02] \(pid [0-9]+\) stopped: .*CF_PEER_LOST' "$work/out"
grep -q '"verified": false' "$work/json"

status=0
"$BIN" run --instances 2 --workload bank --seconds 0.2 --data "$work/bank.cf" >"$work/again" 2>&1 || status=$?
[ "$status" -eq 3 ] && grep -q -- '--accept-loss' "$work/again"
echo "run_kill: a death is told, stops the cluster and is not forgotten by the file"
