#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Made-up results: what changed beyond noise is told, noise and other classes are not, mistakes have their status.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 - "$work" <<'PY'
import json
import sys


def figure(name, median, spread, unit="ns", class_="shared-l3", count=9):
    return {"contender": "cachefusion", "figure": name, "unit": unit, "better": "more" if unit.endswith("/s") else "less",
            "class": class_, "count": count, "median": median, "low": median - spread, "high": median + spread,
            "least": median - 2 * spread, "most": median + 2 * spread}


def report(name, kernel, figures, ratio):
    ratio = {"figure": "fast", "of": "cachefusion", "to": "ucx", "class": "shared-l3", "count": 9, "median": ratio,
             "low": ratio - 0.01, "high": ratio + 0.01}
    root = {"schema": 1, "scale": 1.0, "facts": {"kernel": kernel, "commit": name},
            "benches": [{"name": "b", "figures": figures, "ratios": [ratio]}]}
    with open(f"{sys.argv[1]}/{name}.json", "w", encoding="utf-8") as file:
        json.dump(root, file)


old = [figure("fast", 100, 2), figure("noisy", 100, 30), figure("rate", 1000, 10, "op/s"), figure("moved", 100, 1),
       figure("few", 100, 1, count=2), figure("small", 100, 0.5)]
report("old", "6.1", old, 0.80)
report("new", "6.1", [figure("fast", 80, 2), figure("noisy", 120, 30), figure("rate", 800, 10, "op/s"),
                      figure("moved", 300, 1, class_="other-l3"), figure("few", 200, 1, count=2), figure("small", 103, 0.5)], 0.60)
report("good", "6.2", [figure("fast", 80, 2), figure("rate", 1200, 10, "op/s")], 0.80)
PY
status=0
scripts/bench-compare "$work/old.json" "$work/new.json" >"$work/out" || status=$?
[ "$status" -eq 1 ]
grep -Eq '^better +-20\.0 % +b cachefusion fast \[shared-l3\]' "$work/out"
grep -Eq '^worse +-20\.0 % +b cachefusion rate ' "$work/out"
grep -Eq '^better +-25\.0 % +b cachefusion / ucx fast ' "$work/out"
[ "$(grep -cE '^(better|worse)' "$work/out")" -eq 3 ] # not the noisy, the moved, the small one, nor the one with two runs
grep -q '^2 better, 1 worse, 2 within noise, 1 with too few runs, 2 not comparable' "$work/out"
scripts/bench-compare "$work/old.json" "$work/good.json" >"$work/out"
grep -q '^differs: kernel: 6.1 -> 6.2$' "$work/out"
grep -q '^2 better, 0 worse' "$work/out"
scripts/bench-compare "$work/old.json" "$work/old.json" | grep -q '^0 better, 0 worse'
status=0
scripts/bench-compare "$work/old.json" "$work/none.json" >/dev/null 2>&1 || status=$?
[ "$status" -eq 3 ]
echo '{}' >"$work/empty.json"
status=0
scripts/bench-compare "$work/empty.json" "$work/old.json" >/dev/null 2>&1 || status=$?
[ "$status" -eq 3 ]
echo "bench_compare: better, worse, noise and classes told apart"
