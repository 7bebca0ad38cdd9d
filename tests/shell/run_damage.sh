#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A byte that changes on storage between two runs is found by check and stops a run; nothing is reported as verified.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# flip OFFSET: changes one bit of the byte there; twice is as before.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$1" -N 1 "$work/bank.cf")
    printf '%b' "\\x$(printf %x $((byte ^ 1)))" | dd of="$work/bank.cf" bs=1 seek="$1" conv=notrunc status=none
}

# refused STATUS WORDS COMMAND...
refused() {
    local expected=$1 words=$2 status=0
    shift 2
    "$BIN" "$@" >"$work/out" 2>&1 || status=$?
    if [ "$status" -ne "$expected" ] || ! grep -q "$words" "$work/out"; then
        cat "$work/out"
        echo "run_damage: $*: status $status, expected $expected and '$words'"
        exit 1
    fi
}

run=(run --instances 2 --workload bank --data "$work/bank.cf")
"$BIN" "${run[@]}" --blocks 32 --seconds 0.2 >"$work/out"
"$BIN" check --data "$work/bank.cf"

# Data block 5 begins at (5 + 1) * 8192. First in its header, which only the engine looks at ..
flip $((49152 + 60))
refused 1 'block 5' check --data "$work/bank.cf"
refused 1 CF_CORRUPT "${run[@]}" --seconds 10 --json "$work/json"
grep -q '"verified": false' "$work/json"
flip $((49152 + 60))

# .. then in an account, which the launcher sees before it starts anybody.
"$BIN" run --instances 2 --workload bank --data "$work/bank.cf" --seconds 0.2 --accept-loss >"$work/out"
flip $((49152 + 4000))
refused 1 'block 5' check --data "$work/bank.cf"
refused 1 'in block 5' "${run[@]}" --seconds 0.2
echo "run_damage: one changed byte was found by all"
