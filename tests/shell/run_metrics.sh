#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every instance of a run can be scraped at a port of its own; each line is one that Prometheus reads, and counters only rise.
set -euo pipefail
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

status=0
"$BIN" run --instances 1 --workload hot --seconds 1 --set metrics=localhost:1 >"$work/refused" 2>&1 || status=$?
{ [ "$status" -eq 2 ] && grep -q 'option metrics' "$work/refused"; } || { cat "$work/refused"; exit 1; }

: >"$work/out"
"$BIN" run --instances 2 --workload hot --seconds 60 --status --set metrics=127.0.0.1:0 >"$work/out" 2>&1 &
pid=$!
timeout 30 grep -qm1 'ops/s' <(tail -fn +1 --pid="$pid" "$work/out") || { cat "$work/out"; exit 1; }
for node in 0 1; do
    socket=$(sed -nE "s/.*status --socket (.*node$node.*)\$/\1/p" "$work/out")
    "$BIN" status --socket "$socket" --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["metrics"])' >"$work/where$node"
done
python3 - "$(cat "$work/where0")" "$(cat "$work/where1")" <<'PY'
import re
import sys
import urllib.request

SAMPLE = re.compile(r'([a-z_][a-z0-9_]*)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (NaN|[0-9]+(?:\.[0-9]+)?(?:e[-+][0-9]+)?)')


def scrape(where):
    with urllib.request.urlopen(f"http://{where}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
        text = answer.read().decode()
    assert text.endswith("\n")
    kinds, helps, values = {}, set(), {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helps and line.split(" ", 3)[3], line
            helps.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helps and name not in kinds and kind in ("counter", "gauge", "summary"), line
            kinds[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            base = re.sub(r"_(sum|count)$", "", found[1])
            kind = kinds.get(found[1]) or kinds[base]
            assert kind != "counter" or found[1].endswith("_total"), line
            assert (found[1], found[2]) not in values, line
            values[found[1], found[2]] = float(found[3])
    return kinds, values


for node, where in enumerate(sys.argv[1:]):
    kinds, before = scrape(where)
    _, after = scrape(where)
    assert {f'node="{node}"' in labels for _, labels in after} == {True}, after
    gets = [v for (name, _), v in after.items() if name == "cachefusion_gets_total"]
    assert gets and gets[0] > 0, gets
    assert before.keys() == after.keys()
    for (name, labels), value in before.items():
        assert kinds.get(name) != "counter" or after[name, labels] >= value, (name, labels, value)
    print(f"node {node} at {where}: {len(after)} lines, {gets[0]:.0f} gets")
PY
kill -INT "$pid"
wait "$pid"
pid=
echo "run_metrics: scraped two instances"
