#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `run --hosts`: an instance a host, started through a launcher. Launchers here run the line on this host, or in a
# network namespace of its own. What ends badly is said with the name of the host, and status 3.
set -euo pipefail
work=$(mktemp -d)
export TMPDIR=$work # what a killed run leaves is gone with it
pid=
namespaces=()

# shellcheck disable=SC2317 # called by a trap
clean_up() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    for namespace in "${namespaces[@]}"; do
        ip netns del "$namespace" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

fail() {
    echo "run_hosts: $1" >&2
    cat "$work/out" >&2
    exit 1
}

launcher() { # name; its text follows
    { echo '#!/bin/sh'; cat; } >"$work/$1"
    chmod +x "$work/$1"
}
launcher here <<'END'
[ "$1" = alpha ] || [ "$1" = user@beta ] || [ "$1" = gamma ] || { echo "no route to $1" >&2; exit 255; }
exec sh -c "$2"
END
launcher greets <<'END'
echo "Welcome to $1"
exec sh -c "$2"
END

hosts() { # hosts, launcher, options ...
    local list=$1 launcher=$2
    shift 2
    rm -f "$work/data.cf"
    "$BIN" run --hosts "$list" --launcher "$work/$launcher" --data "$work/data.cf" "$@" >"$work/out" 2>&1
}

for workload in bank ring ycsb-a hot; do
    hosts alpha,user@beta,gamma here --workload "$workload" --seconds 0.5 --json "$work/json" || fail "$workload"
    grep -q ' verified: ' "$work/out" || fail "$workload did not verify"
done
grep -q '"host": "user@beta"' "$work/json"
head -c 1048576 /dev/urandom >"$work/foreign"
# The last two keep what proves them beside the data file, and take it away.
for workload in locks sequence; do
    hosts alpha,user@beta here --workload "$workload" --seconds 0.5 || fail "$workload"
    grep -q ' verified: ' "$work/out" || fail "$workload did not verify"
    [ -z "$(find "$work" -name 'data.cf.side*')" ] || fail "$workload left something beside the data file"
done
hosts alpha,user@beta here --data "$work/foreign" --workload scan --seconds 0.5 || fail scan
grep -q ' verified: ' "$work/out"

refused() { # status, words, hosts, launcher, options ...
    local status=0 want=$1 words=$2
    shift 2
    hosts "$@" || status=$?
    [ "$status" -eq "$want" ] || fail "status $status, not $want: $*"
    grep -qE "$words" "$work/out" || fail "no '$words': $*"
}
refused 3 "node 1 on host delta could not be started: .* status 255: no route to delta" alpha,delta here --seconds 5
refused 3 "node 0 on host alpha: not an instance speaks there, it says 'Welcome to alpha'" alpha,user@beta greets --seconds 5
refused 3 "node 0 on host alpha could not be started: .* status 12[67]: .*nowhere" alpha,user@beta here --program /nowhere --seconds 5
refused 2 "'-x' is not the name of a host" alpha,-x here
refused 2 "peers.* names another number" alpha,user@beta here --set peers=192.0.2.1
refused 2 "run --hosts needs --data|--hosts needs --data" alpha,user@beta here --data ''

at_work() { # workload's options ...
    rm -f "$work/data.cf"
    : >"$work/out"
    "$BIN" run --hosts alpha,user@beta --launcher "$work/here" --data "$work/data.cf" --blocks 64 "$@" >"$work/out" 2>&1 &
    pid=$!
    timeout 30 grep -qm1 'ops/s' <(tail -fn +1 --pid="$pid" "$work/out") || fail "no progress"
}

# A death is told with its host, and the other ends by itself.
at_work --workload bank --seconds 60
victim=$(pgrep -f -- "instance --node 1 .*$work/data.cf" | head -1)
[ -n "$victim" ]
kill -KILL "$victim"
status=0
wait "$pid" || status=$?
pid=
[ "$status" -eq 3 ] || fail "status $status after a death"
grep -q "node 1 on host user@beta was killed by signal 9" "$work/out" || fail "a death was not told"

# Ctrl-C ends all, and what they did is checked.
at_work --workload bank --seconds 60
kill -INT "$pid"
status=0
wait "$pid" || status=$?
pid=
[ "$status" -eq 0 ] || fail "status $status after SIGINT"
grep -q ' verified: ' "$work/out" || fail "not verified after SIGINT"

# A launcher that is killed takes its instances with it.
at_work --workload bank --seconds 60
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
pid=
for ((try = 0; try < 100; try++)); do
    pgrep -f -- "instance --node . .*$work/data.cf" >/dev/null || break
    sleep 0.1
done
[ "$try" -lt 100 ] || fail "instances outlive their launcher"

# So it does where an instance cannot close: it waits for one that stands still, and may do so for a minute.
at_work --workload bank --seconds 60 --set peer_timeout=60s
stopped=$(pgrep -f -- "instance --node 1 .*$work/data.cf" | head -1)
kill -STOP "$stopped"
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
pid=
for ((try = 0; try < 200; try++)); do
    pgrep -f -- "instance --node 0 .*$work/data.cf" >/dev/null || break
    sleep 0.1
done
kill -KILL "$stopped"
[ "$try" -lt 200 ] || fail "an instance that cannot close outlives its launcher"

# Hosts with a network between them: namespaces, over raw sockets.
network=none
name=cfh$$
if [ "$(id -u)" -eq 0 ] && [ -e "$BUILD_DIR/libcachefusion-dpdk.so" ] && ip netns add "$name-0" 2>/dev/null; then
    namespaces=("$name-0" "$name-1")
    if ip netns add "$name-1" && ip link add cfh0 netns "$name-0" type veth peer name cfh1 netns "$name-1" 2>/dev/null &&
        ip -n "$name-0" link set cfh0 up && ip -n "$name-1" link set cfh1 up; then
        network="dpdk:af_packet between namespaces"
    fi
fi
if [ "$network" != none ]; then
    launcher netns <<'END'
exec ip netns exec "$1" sh -c "$2"
END
    hosts "$name-0,$name-1" netns --transport dpdk:af_packet:cfh% --set peers=192.0.2.1,192.0.2.2 --workload bank --seconds 1 ||
        fail "namespaces"
    grep -q ' verified: ' "$work/out" || fail "namespaces did not verify"
fi
echo "run_hosts: workloads verify, and ends are told by host; network: $network"
