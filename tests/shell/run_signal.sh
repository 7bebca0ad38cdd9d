#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C (SIGINT to the whole group) ends a run early, cleanly and verified; SIGTERM to the launcher too.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

for how in group launcher; do
    : >"$work/$how.out"
    setsid "$BIN" run --instances 3 --workload bank --blocks 64 --seconds 60 --data "$work/$how.cf" >"$work/$how.out" 2>&1 &
    pid=$!
    timeout 30 grep -qm1 'ops/s' <(tail -fn +1 --pid="$pid" "$work/$how.out") || { cat "$work/$how.out"; exit 1; }
    if [ "$how" = group ]; then
        kill -INT -- "-$pid"
    else
        kill -TERM "$pid"
    fi
    status=0
    wait "$pid" || status=$?
    pid=
    [ "$status" -eq 0 ] || { cat "$work/$how.out"; echo "run_signal: status $status"; exit 1; }
    grep -q '^  verified: ' "$work/$how.out"
    grep -qE 'ended by SIG(INT|TERM)' "$work/$how.out"
    "$BIN" check --data "$work/$how.cf"
done
echo "run_signal: both ways ended early, verified and clean"
