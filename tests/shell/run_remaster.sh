#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A running cluster is told to have buckets mastered elsewhere; what cannot be is refused by name; nothing is lost.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

refused() { # words, then the arguments
    local words=$1 status=0
    shift
    "$BIN" remaster "$@" >"$work/refused" 2>&1 || status=$?
    [ "$status" -eq 3 ] && grep -q "$words" "$work/refused" || { cat "$work/refused"; exit 1; }
}

: >"$work/out"
"$BIN" run --instances 2 --workload bank --seconds 60 --set buckets=16 --set remaster=manual --status >"$work/out" 2>&1 &
pid=$!
timeout 30 grep -qm1 'ops/s' <(tail -fn +1 --pid="$pid" "$work/out") || { cat "$work/out"; exit 1; }
socket=$(sed -nE 's/.*status --socket (.*node1.*)$/\1/p' "$work/out")
told=0
for bucket in $(seq 0 15); do # those of node 1 go; node 0 has the others
    if "$BIN" remaster --bucket "$bucket" --to 0 --socket "$socket" >"$work/answer" 2>&1; then
        told=$((told + 1))
    else
        grep -qE 'CF_OPTION bucket .* mastered by node 0 already|CF_BUSY' "$work/answer" || { cat "$work/answer"; exit 1; }
    fi
done
[ "$told" -ge 1 ]
given() {
    "$BIN" status --socket "$socket" --json |
        python3 -c 'import json, sys; c = json.load(sys.stdin)["counters"]; print(c["remaster_given"] + c["remaster_given_up"] + c["remaster_refused"])'
}
for _ in $(seq 1 200); do
    [ "$(given)" -ge "$told" ] && break
done
[ "$(given)" -ge "$told" ]
refused 'CF_OPTION bucket 99: there are 16' --bucket 99 --to 0 --socket "$socket"
refused 'CF_OPTION node 7 is no member' --bucket 3 --to 7 --socket "$socket"
"$BIN" status --socket "$socket" | grep -q '^masters [0-9]* buckets: '

kill -INT "$pid"
wait "$pid"
pid=
grep -q 'verified: ' "$work/out"
[ ! -e "$socket.control" ]
echo "run_remaster: $told buckets were told to go; what cannot be was refused"
