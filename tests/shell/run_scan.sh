#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Foreign files of awkward lengths go through the caches unchanged and are not touched.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for bytes in 1 8191 8192 1000003; do
    head -c "$bytes" /dev/urandom >"$work/file"
    before=$(sha256sum <"$work/file")
    "$BIN" run --instances 3 --workload scan --seconds 0.2 --data "$work/file" --cache 2MiB --json "$work/json" >"$work/out" 2>&1 ||
        { cat "$work/out"; exit 1; }
    [ "$(sed -nE 's/.*"seen_sha256": "([0-9a-f]+)".*/\1  -/p' "$work/json" | sort -u)" = "$before" ]
    [ "$(grep -c seen_sha256 "$work/json")" -eq 3 ]
    [ "$(sha256sum <"$work/file")" = "$before" ]
done
status=0
"$BIN" run --workload scan --data "$work/none" >"$work/out" 2>&1 || status=$?
[ "$status" -eq 3 ] && grep -q 'no such file' "$work/out"
echo "run_scan: files of 1, 8191, 8192 and 1000003 bytes read alike by all"
