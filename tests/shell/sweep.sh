#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A small sweep: a line of numbers for each value, a picture where gnuplot is installed, and mistakes named with their status.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BIN

scripts/sweep --option outstanding --values 8,64 --workload bank --seconds 0.3 --repeat 2 --set waiting=sleep --out "$work" >"$work/out"
python3 - "$work/outstanding.tsv" <<'PY'
import csv
import sys

lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
facts = [line for line in lines if line.startswith("# ")]
assert any("cpu " in f for f in facts) and any("commit " in f for f in facts) and any("waiting=sleep" in f for f in facts), facts
rows = list(csv.DictReader(lines[len(facts):], delimiter="\t"))
assert [r["value"] for r in rows] == ["8", "64"], rows
for r in rows:
    assert r["runs"] == "2" and 0 < float(r["ops_per_s_min"]) <= float(r["ops_per_s"]) <= float(r["ops_per_s_max"]), r
    assert 0 < float(r["p50_us"]) <= float(r["p99_us"]) <= float(r["p999_us"]), r
PY
# Interleaved: both values before the second repetition of either.
[ "$(grep -oE '^[12]/2 outstanding=[0-9]+' "$work/out" | tr '\n' ' ')" = '1/2 outstanding=8 1/2 outstanding=64 2/2 outstanding=8 2/2 outstanding=64 ' ]
if command -v gnuplot >/dev/null; then
    [ "$(head -c 8 "$work/outstanding.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]
else
    grep -q 'gnuplot is not installed' "$work/out"
fi

refused() { # status, words, arguments
    local status=0 wanted=$1 words=$2
    shift 2
    scripts/sweep "$@" --out "$work" --seconds 0.1 --repeat 1 >"$work/refused" 2>&1 || status=$?
    { [ "$status" -eq "$wanted" ] && grep -qF -- "$words" "$work/refused"; } ||
        { cat "$work/refused"; echo "sweep: $*: status $status, expected $wanted and '$words'"; exit 1; }
}
refused 2 'no_such' --option no_such --values 1
refused 2 'spin=forever' --option spin --values forever
refused 2 'has no default' --option residency
refused 3 '--bin names another' --values 0 --bin "$work/none"
echo "sweep: two values, drawn and refused"
