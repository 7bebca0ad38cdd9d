#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Addresses of dpdk: that cannot be: an instance says one line with the cause and the remedy, its status is not 0, and other
# transports go on. Cards, hugepages and EAL's failure are made up in a mount namespace, interfaces in a network namespace.
set -euo pipefail
work=$(mktemp -d) namespace=
cluster=refused-$$ # the place of a cluster is the host's
export TMPDIR=$work
clean_up() {
    local child
    for child in $(jobs -pr); do # the number of one that has ended may be another's by now
        kill "$child" 2>/dev/null || true
    done
    wait
    [ -z "$namespace" ] || ip netns del "$namespace"
    rm -rf "$work"
}
trap clean_up EXIT
if ! "$BIN" version | grep -q 'dpdk:$'; then
    echo "skipped: $("$BIN" version | grep transports)"
    exit 77
fi
steps=0

fail() {
    echo "dpdk_refused: $1" >&2
    cat "$work/out" >&2
    exit 1
}

config() { # address, node 0's instance
    printf '%s\n' '[cluster]' "cluster = $cluster" 'secret = 0123456789abcdef0123456789abcdef' 'nodes = 2' \
        "transport = $1" 'cache_bytes = 16MiB'
}

# What comes before the options is the command that runs the instance, in a namespace or not.
refused() { # address, cause, remedy, node, command...
    local address=$1 cause=$2 remedy=$3 node=$4 status=0
    shift 4
    config "$address" >"$work/cluster.ini"
    timeout 60 "$@" "$BIN" instance --config "$work/cluster.ini" --node "$node" --workload bank --data "$work/data" --seconds 1 \
        >"$work/out" 2>&1 || status=$?
    { [ "$status" -ne 0 ] && [ "$status" -ne 124 ]; } || fail "$address was not refused: status $status"
    [ "$(wc -l <"$work/out")" -eq 1 ] || fail "$address: more than one line"
    grep -q -- "$cause" "$work/out" || fail "$address: no word of '$cause'"
    grep -q -- "$remedy" "$work/out" || fail "$address: no word of '$remedy'"
    steps=$((steps + 1))
}

# An instance that waits for its peer, until what it holds is there: a file, or a name among unix sockets.
holder() { # address, what it holds, command...
    local address=$1 held=$2 until=$((SECONDS + 20))
    shift 2
    config "$address" >"$work/holder.ini"
    "$@" "$BIN" instance --config "$work/holder.ini" --node 0 --workload bank --data "$work/data" --seconds 30 \
        >"$work/holder" 2>&1 &
    until [ -e "$held" ] || "$@" grep -q -- "$held" /proc/net/unix; do
        if [ "$SECONDS" -ge "$until" ]; then
            cp "$work/holder" "$work/out"
            fail "no instance on $address"
        fi
    done
}
"$BIN" mkfs --data "$work/data" --blocks 256 >"$work/out" 2>&1 || fail mkfs

# --- words ---

refused dpdk:pigeon 'an address is' 'memif' 0
refused dpdk:memif,mtu=100 'mtu is' 'headers and the largest message' 0
refused dpdk:memif,colour=red 'an address has' 'mtu, target' 0

# --- no such device ---

refused dpdk:af_packet:nosuch0 'no such network interface' 'ip link' 0
refused dpdk:0000:ff:1f.7 'no such PCI device' 'lspci' 0
refused dpdk:memif:/nonexistent/place '/nonexistent/place' 'No such file' 0

# --- EAL fails: there is not so much memory ---

refused dpdk:memif 'EAL does not start' 'docs/dpdk.md' 0 bash -c 'ulimit -v 900000; exec "$@"' limit

# --- two instances on one address ---

mkdir "$work/place"
holder "dpdk:memif:$work/place" "$work/place/$cluster-0-1.memif" env
refused "dpdk:memif:$work/place" 'running already' 'node' 0

# --- cards: what the kernel knows of them is made up ---

card() { # driver or nothing, free hugepages, what runs it; a command for `refused`
    cat >"$work/card" <<END
mount -t tmpfs none /sys/bus/pci/devices && mkdir /sys/bus/pci/devices/0000:3b:00.0 &&
    { [ -z '$1' ] || ln -s '/sys/bus/pci/drivers/$1' /sys/bus/pci/devices/0000:3b:00.0/driver; } &&
    mount -t tmpfs none /sys/kernel/mm/hugepages && mkdir /sys/kernel/mm/hugepages/hugepages-2048kB &&
    echo '$2' >/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages && exec ${3-} "\$@"
END
}
in_card() {
    refused dpdk:0000:3b:00.0 "$1" "$2" 0 unshare -m bash "$work/card"
}
if unshare -m true 2>/dev/null; then
    card '' 512
    in_card 'not bound to any driver' 'dpdk-devbind.py --bind=vfio-pci'
    card e1000e 512
    in_card "kernel's driver e1000e" 'dpdk-devbind.py --bind=vfio-pci'
    card vfio-pci 3
    in_card 'needs hugepages' 'vm.nr_hugepages'
    card vfio-pci 512
    in_card 'EAL does not start' 'docs/dpdk.md'
    card vfio-pci 512 'flock -n /sys/bus/pci/devices/0000:3b:00.0'
    in_card 'another instance runs on this card' 'one instance a card'
else
    echo "cards not tried: no mount namespace here"
fi

# --- interfaces ---

link() { # what is done to lo of a new network namespace; a command for `refused`
    printf '%s\nexec "$@"\n' "$1" >"$work/link"
}
in_link() { # options of the address, cause, remedy, command...
    local options=$1 cause=$2 remedy=$3
    shift 3
    refused "dpdk:af_packet:lo$options" "$cause" "$remedy" 1 unshare -n "$@" bash "$work/link"
}
if unshare -n true 2>/dev/null && command -v ip >/dev/null; then
    link ':'
    in_link '' 'interface is down' 'ip link set'
    link 'ip link set lo up mtu 1000'
    in_link '' 'takes packets of 1000 bytes' 'mtu=1000'
    in_link ,mtu=9000 'at most 1518' 'mtu=1500'
    in_link ,mtu=1000 'CAP_NET_RAW' 'setcap' setpriv --bounding-set=-net_raw --inh-caps=-net_raw
    namespace=cfr$$
    ip netns add "$namespace"
    ip -n "$namespace" link set lo up
    holder dpdk:af_packet:lo '@cachefusion-dpdk-lo$' ip netns exec "$namespace"
    refused dpdk:af_packet:lo 'another instance runs' 'one instance an interface' 1 ip netns exec "$namespace"
else
    echo "interfaces not tried: no network namespace here"
fi

# --- other transports go on ---

"$BIN" run --instances 2 --transport shm: --workload bank --seconds 0.2 >"$work/out" 2>&1 || fail "shm: after it"
echo "$steps addresses refused"
