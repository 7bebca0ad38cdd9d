#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/bench-peers, quickly, with the peers that are installed: it measures, judges the targets, and leaves nothing behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ ! -x "$BUILD_DIR/bench/fetch" ] || [ ! -x "$BUILD_DIR/bench/peer_socket" ]; then
    echo "the benchmarks are not built (make bench-build)"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
halt_poll=/sys/module/haltpoll/parameters/guest_halt_poll_ns
before=$(cat "$halt_poll" 2>/dev/null || true)

TMPDIR=$work scripts/bench-peers --bin "$BIN" --quick --repeats 1 --only fetch --json "$work/peers.json" >"$work/out" 2>&1 ||
    { tail -n 20 "$work/out"; exit 1; }
grep -q '^targets' "$work/out"
python3 - "$work/peers.json" <<'PY'
import json
import sys

bench = json.load(open(sys.argv[1], encoding="utf-8"))["benches"][0]
assert bench["failure"] == "", bench["failure"]
told = {f["contender"] for f in bench["figures"]} | {c["name"] for c in bench["contenders"] if c["skipped"]}
assert {"cachefusion", "page-cache", "o-direct"} <= told, told
PY
[ "$(cat "$halt_poll" 2>/dev/null || true)" = "$before" ]
left=$(find "$work" -mindepth 1 ! -name out ! -name peers.json)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
refused=0
scripts/bench-peers --only nothing >"$work/out" 2>&1 || refused=$?
{ [ "$refused" -eq 2 ] && grep -q 'nothing' "$work/out"; }
echo "bench_peers: measured beside $(python3 -c "import json,sys; print(', '.join(c['name'] for c in json.load(open(sys.argv[1]))['benches'][0]['contenders'][1:]))" "$work/peers.json")"
