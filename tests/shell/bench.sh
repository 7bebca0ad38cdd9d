#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `cachefusion bench` on a catalogue of made-up programs: turns, ratios, classes, facts, programs that fail, hang, have
# nothing to measure; then one of its own benchmarks, quickly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

program() { # name; the body from standard input
    { echo '#!/bin/sh'; cat; } >"$work/$1"
    chmod +x "$work/$1"
}
program ours <<END
echo "ours \$*" >>$work/turns
echo "words for a reader"
echo "figure took 10 ns"
echo "figure rate 200 op/s"
echo "percentile took 0.99 25"
END
program theirs <<END
echo "theirs \$*" >>$work/turns
echo "figure took 40 ns"
echo "figure rate 50 op/s"
END
program broken <<END
echo "no luck today"
exit 4
END
program hangs <<END
sleep 300
END
program nothing <<END
echo "not run: there is no such device"
END
cat >"$work/list.ini" <<END
[pair]
question = Who is faster?
run = $work/ours --rounds {1000} --cpus {cpus}
run.theirs = $work/theirs {transport}
run.nothing = $work/nothing
target = theirs 0.5
[pair-broken]
question = What when it fails?
run = $work/broken
[hangs]
question = What when it hangs?
run = $work/hangs
limit_s = 1
END
bench() {
    "$BIN" bench --catalogue "$work/list.ini" "$@"
}

[ "$(bench --list | wc -l)" -eq 3 ]
bench --list | grep -q '^pair  *Who is faster?$'
bench pair --repeats 2 --warm-ups 1 --transport shm:/x --json "$work/pair.json" >"$work/out" 2>&1 && exit 1 # pair-broken is also meant
grep -q 'pair-broken' "$work/out"
grep -q 'failed: cachefusion: status 4: no luck today' "$work/out"
grep -q 'nothing not run: there is no such device' "$work/out"
grep -Eq 'took +theirs +40.0 ns .* cachefusion / this: 0.250 ' "$work/out"
[ "$(grep -o '^[a-z]*' "$work/turns" | tr '\n' ' ')" = 'ours theirs ours theirs ours theirs ' ]
grep -q '^theirs shm:/x$' "$work/turns"
grep -Eq '^ours --rounds 1000 --cpus [0-9]+,[0-9]+$' "$work/turns"

python3 - "$work/pair.json" <<'PY'
import json
import sys

root = json.load(open(sys.argv[1], encoding="utf-8"))
for fact in ("cpu", "numa_nodes", "l3", "placement", "kernel", "governor", "hugepages", "nic", "transport", "config", "commit"):
    assert root["facts"][fact], fact
pair = root["benches"][0]
assert pair["name"] == "pair" and pair["question"] == "Who is faster?" and pair["failure"] == "", pair
assert len(pair["lines"]) == 2 * 3, pair["lines"]
if all(line["class"] == pair["class"] for line in pair["lines"][:1]) and pair["class"] != "moved":
    took = [f for f in pair["figures"] if f["figure"] == "took" and f["contender"] == "cachefusion" and f["class"] == pair["class"]]
    assert took and took[0]["median"] == 10 and took[0]["percentiles"] == [[0.99, 25.0]], took
for ratio in pair["ratios"]:  # below 1 is better for the first, for times and for rates
    assert ratio["median"] == 0.25 and ratio["class"] != "moved", ratio
assert root["benches"][1]["failure"], root["benches"][1]
PY

started=$(date +%s)
bench hangs >"$work/out" 2>&1 && exit 1
grep -q 'did not end in time' "$work/out"
[ $(($(date +%s) - started)) -lt 60 ]

# Ctrl-C: what was measured until then is kept.
mkfifo "$work/waits.begun"
program waits <<END
echo begun >$work/waits.begun
exec sleep 300
END
printf '[quick]\nquestion = Before?\nrun = %s/ours\n[waits]\nquestion = During?\nrun = %s/waits\n[never]\nquestion = After?\nrun = %s/ours\n' \
    "$work" "$work" "$work" >"$work/interrupted.ini"
"$BIN" bench --catalogue "$work/interrupted.ini" --repeats 1 --warm-ups 0 --json "$work/interrupted.json" >"$work/out" 2>&1 &
child=$!
read -r _ <"$work/waits.begun"
kill -INT "$child"
status=0
wait "$child" || status=$?
[ "$status" -eq 3 ]
grep -q 'interrupted: the rest was not measured' "$work/out"
python3 -c "
import json, sys
benches = json.load(open(sys.argv[1]))['benches']
assert [b['name'] for b in benches] == ['quick', 'waits'], benches
assert benches[0]['failure'] == '' and benches[0]['lines'] and benches[1]['failure'], benches
" "$work/interrupted.json"

refused() { # status, words, arguments
    local status=0 wanted=$1 words=$2
    shift 2
    "$BIN" bench "$@" >"$work/out" 2>&1 || status=$?
    { [ "$status" -eq "$wanted" ] && grep -qF -- "$words" "$work/out"; } ||
        { cat "$work/out"; echo "bench: $*: status $status, expected $wanted and '$words'"; exit 1; }
}
printf '[a]\nrun = x\n' >"$work/no-question.ini"
printf '[a]\nquestion = b\nrum = x\n' >"$work/wrong.ini"
refused 3 'no question' --catalogue "$work/no-question.ini"
refused 3 'line 3' --catalogue "$work/wrong.ini"
refused 2 '--list' --catalogue "$work/list.ini" no-such
refused 2 'repeats' --repeats 0
refused 2 '--cpus' --catalogue "$work/list.ini" --cpus 0:1

# Its own programs, where they have been built: each question is asked once, quickly, of those that take no device.
if [ -r "$BUILD_DIR/bench/catalogue.ini" ]; then
    "$BIN" bench micro-ring micro-codec --quick --repeats 1 --warm-ups 0 --json "$work/own.json" >"$work/out" 2>&1 ||
        { cat "$work/out"; exit 1; }
    grep -q 'encode/request' "$work/out"
fi
echo "bench: turns, ratios, facts; failures told"
