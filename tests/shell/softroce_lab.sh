#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# alone
# time limit: 400 s
# prepare: scripts/softroce-lab --prepare
# The lab boots, a command sees a working soft-RoCE device in it, its output and exit status come back, what it wrote is
# where it was allowed to write, and nothing stays behind: not after the end, not after the time limit, not after a signal.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
lab=scripts/softroce-lab
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/out" "$work/tmp"

status=0
$lab --prepare || status=$?
if [ "$status" -eq 77 ]; then
    echo "no soft-RoCE lab on this host, see the line above"
    exit 77
fi
[ "$status" -eq 0 ]

# Each run has its temporary files here, and QEMU's arguments name them.
export TMPDIR=$work/tmp
nothing_left() {
    [ -z "$(ls -A "$TMPDIR")" ] || { echo "softroce_lab: left behind: $(ls -A "$TMPDIR")"; exit 1; }
    ! pgrep -fa "qemu-system.*$TMPDIR" || { echo "softroce_lab: QEMU still runs"; exit 1; }
}

ends_with() { # wanted status, what ended
    [ "$status" -eq "$1" ] || { echo "softroce_lab: $2: status $status, not $1"; cat "$work/stdout" "$work/stderr"; exit 1; }
    nothing_left
}

cat >"$work/out/one" <<'END'
set -eu
grep -q ACTIVE /sys/class/infiniband/rxe0/ports/1/state
ibv_devinfo -d rxe1 | grep -q 'active_mtu:.*4096'
[ "$LAB_DEVICES" = "rxe0 rxe1" ]
[ "$(awk '$1 == "HugePages_Total:" { print $2 }' /proc/meminfo)" = 8 ]
[ -d /sys/devices/system/node/node1 ]
if touch scripts/softroce-lab.new 2>/dev/null; then exit 20; fi
set -- $LAB_ADDRESSES
rping -s -P -a "$1" >/dev/null 2>&1 &
until rping -c -a "$1" -I "$2" -C 3 -v; do sleep 0.2; done
echo "$WORD" >"$OUT/written"
seq 1 20000
echo "to stderr" >&2
exit 7 # the server is left running
END
status=0
$lab --devices 2 --hugepages 8 --numa 2 --timeout 100 --write "$work/out" --env OUT="$work/out" --env WORD='two  words' -- \
    bash "$work/out/one" >"$work/stdout" 2>"$work/stderr" || status=$?
ends_with 7 "a command"
grep -q 'rdma-ping-2' "$work/stdout"
[ "$(grep -vE 'EVENT|RDMA_READ_ADV' "$work/stderr")" = 'to stderr' ]
diff <(seq 1 20000) <(grep -x '[0-9]*' "$work/stdout")
[ "$(cat "$work/out/written")" = 'two  words' ]

# Two guests: what the first one's netem loses, the second one's connection repairs; the first status that is not 0 counts.
cat >"$work/out/two" <<'END'
set -eu
tc qdisc show dev v0 | grep -q 'netem.*loss 3%'
if [ "$LAB_GUEST" = 0 ]; then
    rping -s -P -a "$LAB_ADDRESS" >/dev/null 2>&1 &
    until [ -e /run/shared/pinged ]; do sleep 0.2; done
else
    until timeout 20 rping -c -a "$LAB_PEERS" -I "$LAB_ADDRESS" -C 5 -v; do sleep 0.2; done
    touch /run/shared/pinged
    lab-link down
    grep -q DOWN /sys/class/infiniband/rxe0/ports/1/state
    lab-link up
    exit 9
fi
END
status=0
$lab --guests 2 --cpus 1 --netem 'loss 3%' --timeout 110 --read "$work/out" -- bash "$work/out/two" \
    >"$work/stdout" 2>"$work/stderr" || status=$?
ends_with 9 "two guests"
grep -q '^\[1\].*rdma-ping-4' "$work/stdout"

status=0
$lab --timeout 1 -- true >"$work/stdout" 2>"$work/stderr" || status=$?
ends_with 124 "the time limit"
grep -q 'no end after 1 s' "$work/stderr"

# A signal while the guest boots: the file of its console tells that QEMU is at work.
status=0
$lab --timeout 60 -- sleep 1000 >"$work/stdout" 2>"$work/stderr" &
pid=$!
for ((tries = 0; tries < 600; tries++)); do
    [ -z "$(find "$TMPDIR" -path '*/guest0/console')" ] || break
    sleep 0.05
done
[ "$tries" -lt 600 ]
kill -TERM "$pid"
wait "$pid" || status=$?
ends_with 143 "a signal"

status=0
$lab --devices nine -- true >"$work/stdout" 2>"$work/stderr" || status=$?
ends_with 125 "a wrong option"
grep -qx "softroce-lab: --devices takes a number from 1 to 8, not 'nine'" "$work/stderr"
echo "softroce_lab: output, status and files come back, nothing stays"
