#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/report on made-up results: a page that needs no network, a picture for each question, and what is missing named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v gnuplot >/dev/null; then
    echo "gnuplot is not installed"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 - "$work" <<'PY'
import json
import sys


def figure(contender, name, median, unit):
    return {"contender": contender, "figure": name, "unit": unit, "better": "less", "class": "shared-l3", "count": 5,
            "median": median, "low": median * .9, "high": median * 1.1, "least": median * .8, "most": median * 1.2,
            "percentiles": [[0, median / 2], [0.5, median], [0.99, median * 5], [0.999, median * 9], [1, median * 50]]}


def bench(name, figures, contenders=(), ratios=()):
    return {"name": name, "question": f"What about {name} < & >?", "target": "", "failure": "", "class": "shared-l3", "lines": [],
            "contenders": [{"name": n, "command": c, "skipped": ""} for n, c in contenders], "figures": figures, "ratios": list(ratios)}


def write(name, benches):
    with open(f"{sys.argv[1]}/{name}.json", "w", encoding="utf-8") as file:
        json.dump({"schema": 1, "scale": 1.0, "repeats": 5, "facts": {"cpu": "a <cpu>", "kernel": "k", "commit": "c"},
                   "benches": benches}, file)


write("bench", [
    bench("fetch-2hop", [figure("cachefusion", "fetch", 2700, "ns")], [("cachefusion", "fetch")]),
    bench("writes", [figure("cachefusion", "writes-rate", 9e5, "op/s"), figure("50", "writes-rate", 1e5, "op/s"),
                     figure("cachefusion", "writes-ships", 0, "1/s"), figure("50", "writes-ships", 5e4, "1/s")],
          [("cachefusion", "hot_set --writes 0"), ("50", "hot_set --writes 50")]),
    bench("micro-directory", [figure("cachefusion", f"directory/find/{n}", 20 + n / 1000, "ns") for n in (1000, 100000)])])
write("peers", [bench("fetch", [figure("cachefusion", "fetch-8KiB", 2700, "ns"), figure("redis", "fetch-8KiB", 40000, "ns")],
                      [("cachefusion", "fetch"), ("redis", "peer_socket")],
                      [{"figure": "fetch-8KiB", "of": "cachefusion", "to": "redis", "class": "shared-l3", "count": 5, "median": 0.07,
                        "low": 0.06, "high": 0.08}])])
PY
scripts/report --bench "$work/bench.json" --peers "$work/peers.json" --out "$work/out" >"$work/said"
grep -q 'not measured: Throughput against instances' "$work/said"
page=$work/out/report.html
python3 - "$page" <<'PY'
import html.parser
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
outside = set(re.findall(r"""(?:src|href)=["']?(?!#)([^"' >]+)""", text))
assert not [o for o in outside if not o.startswith("#")], outside
assert text.count("<svg") == 5, text.count("<svg")  # ratios, two latencies, writes, directory
for needed in ("a &lt;cpu&gt;", "What about writes &lt; &amp; &gt;?", "cachefusion bench writes", "scripts/bench-peers --only fetch",
               "99.9 %", "shared-l3", "prefers-color-scheme: dark", "var(--ink)", "not measured: loss curve"):
    assert needed in text, needed
ids = re.findall(r"""\bid=["']([^"']+)""", text)
assert len(ids) == len(set(ids)), "two pictures have the same id"
html.parser.HTMLParser().feed(text)
PY
for name in ratios latency fetch-peers writes directory; do
    [ "$(head -c 8 "$work/out/$name.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || { echo "report: no $name.png"; exit 1; }
done
status=0
scripts/report --bench "$work/none" --peers "$work/none" --out "$work/out" >"$work/said" 2>&1 || status=$?
{ [ "$status" -eq 3 ] && grep -q "make bench" "$work/said"; }
echo "report: five pictures in one page that needs nothing else"
