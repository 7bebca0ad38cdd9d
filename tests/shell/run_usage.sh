#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every subcommand has --help with its exit statuses; what is wrong on a command line is named with what would be right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# refused STATUS WORDS ARGUMENTS...
refused() {
    local expected=$1 words=$2 status=0
    shift 2
    "$BIN" "$@" >"$work/out" 2>&1 || status=$?
    [ "$status" -eq "$expected" ] || { cat "$work/out"; echo "run_usage: $*: status $status, expected $expected"; exit 1; }
    grep -qi -- "$words" "$work/out" || { cat "$work/out"; echo "run_usage: $*: does not say '$words'"; exit 1; }
}

for command in run instance status top tune bench options version; do
    "$BIN" "$command" --help >"$work/help"
    grep -q '^usage: cachefusion '"$command" "$work/help"
    grep -q 'exit status' "$work/help"
    refused 2 "$command --help" "$command" --no-such-option
done
refused 2 'instances' run --instances 0
refused 2 'workload' run --workload nothing
refused 2 'bank, ring' run --workload nothing
refused 2 'seconds' run --seconds ten
refused 2 'block' run --block-size 3000 --workload bank
refused 2 '--set spin' run --set spin
refused 2 'cachefusion options' run --set no_such=1
refused 2 'peer_timeout' run --set peer_timeout=1ns
refused 2 '--data' run --workload scan
refused 2 'at least' run --workload ycsb-a --blocks 2
refused 2 '--socket' status
refused 2 '--socket' top
refused 3 'is the instance running' status --socket "$work/none"
refused 2 '--config' instance --node 1
echo 'not a data file' >"$work/text"
refused 3 'of memory' run --cache 15TiB
refused 3 'not a data file' run --workload bank --data "$work/text" --seconds 0.1
[ "$(cat "$work/text")" = 'not a data file' ]
"$BIN" options >"$work/options" && grep -q cache_bytes "$work/options"
"$BIN" version | grep -q '^cachefusion 0\.1\.0'
echo "run_usage: wrong command lines are named and refused"
