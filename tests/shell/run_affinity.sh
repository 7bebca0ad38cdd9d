#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# With remaster = on, buckets go to the instance that uses them and rest there; where all use the same they stay where they are.
# All bounds are ratios. What is judged is the last quarter of a run, after as many requests as the planner needs to see.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# measured WORKLOAD SECONDS BLOCKS
measured() {
    if ! "$BIN" run --instances 3 --workload "$1" --seconds "$2" --blocks "$3" --cache 384KiB --set outstanding=16 --set buckets=65536 \
        --set remaster=on --set remaster_rest=1s --json "$work/json" >"$work/out" 2>&1; then
        cat "$work/out"
        exit 1
    fi
}

# judged WORKLOAD BOUNDS [MIN]: status 2 after fewer than MIN requests.
judged() {
    python3 - "$work/json" "$@" <<'PYTHON'
import json
import sys

r = json.load(open(sys.argv[1]))
q = r["last_quarter"]
before = r["master_requests"] - q["master_requests"]
if len(sys.argv) > 4 and before < int(sys.argv[4]):
    print(f"run_affinity: {sys.argv[2]}: {before} requests only before the last quarter")
    sys.exit(2)
local = q["master_requests_local"] / q["master_requests"]
two_hops = q["hops2"] / (q["hops2"] + q["hops3"])
moved = r["remaster_given"]
late = q["remaster_given"]
print(f"run_affinity: {sys.argv[2]}: in the last quarter {100 * local:.1f} % local, {100 * two_hops:.1f} % in two hops, "
      f"{late} of {moved} buckets moved; {r['ops_per_s']:.0f} operations/s")
sys.exit(not eval(sys.argv[3]))
PYTHON
}

# told WORKLOAD SECONDS BLOCKS MIN BOUNDS: BOUNDS is python. A machine that others use too much to make MIN requests gets
# three times as long.
told() {
    local status=0
    measured "$1" "$2" "$3"
    judged "$1" "$5" "$4" || status=$?
    if [ "$status" -eq 2 ]; then
        status=0
        measured "$1" $((3 * $2)) "$3"
        judged "$1" "$5" || status=$?
    fi
    if [ "$status" -ne 0 ] || ! grep -q '^  requests .* answered by the instance that asks (.* in the last quarter)' "$work/out" ||
        ! grep -q '^  buckets moved .* in the last quarter' "$work/out"; then
        cat "$work/out"
        exit 1
    fi
}

# A third of the requests is local by chance; 98 % of the calls are about the instance's own part.
told affinity 10 200 50000 'local >= 0.95 and two_hops >= 0.95 and moved >= 100 and late <= moved / 50'
# All use the same blocks, each of them often.
told hot 4 48 3000 'local < 0.5 and moved <= 3 and late == 0'
told ycsb-a 5 96 10000 'local < 0.5 and moved <= 3 and late == 0'
