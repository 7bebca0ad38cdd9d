# shellcheck shell=bash disable=SC2154 # variables are those of scripts/softroce-lab
# SPDX-License-Identifier: Apache-2.0
# Read by scripts/softroce-lab: starts guests and the network between them, brings back what they print and return.
# Everything that belongs to one run is in its run_dir: sockets, pipes, status; so that runs do not meet.

console_lines_max=40
hub_start_s_max=20
instruction_ns_log2=3 # about what the emulation of one takes

# What the guests are to run, as a script, so that quoting is the shell's business.
write_command() {
    {
        printf 'cd %q || exit 125\n' "$(pwd -P)"
        for variable in "${variables[@]}"; do
            printf 'export %s=%q\n' "${variable%%=*}" "${variable#*=}"
        done
        printf 'exec'
        printf ' %q' "${command[@]}"
        printf '\n'
    } >"$run_dir/command"
    (cd "$lab_dir" && printf '%s\n' init main lab-link lab-run | cpio -o -H newc -R 0:0 --quiet) >"$run_dir/scripts.cpio"
    cat "$image/base.cpio" "$run_dir/scripts.cpio" >"$run_dir/initrd"
}

# Starts a child that dies with this script, however the script ends.
start_child() {
    setpriv --pdeathsig KILL "$@" &
}

# Joins the guests by a hub that is a process of its own, so that the death of one guest does not part the others. The
# hub's greeting tells that its sockets listen.
start_network() {
    local guest number greeting said hub=()
    [ "$guests" -gt 1 ] || return 0
    for ((guest = 0; guest < guests; guest++)); do
        hub+=(-netdev "stream,id=s$guest,server=on,addr.type=unix,addr.path=${run_dir//,/,,}/net$guest"
            -netdev "hubport,id=h$guest,hubid=0,netdev=s$guest")
        for number in "${!cards[@]}"; do
            hub+=(-netdev "stream,id=s$guest.$number,server=on,addr.type=unix,addr.path=${run_dir//,/,,}/card$guest.$number"
                -netdev "hubport,id=h$guest.$number,hubid=1,netdev=s$guest.$number")
        done
    done
    mkfifo "$run_dir/hub"
    start_child qemu-system-x86_64 -machine none -nodefaults -no-user-config -display none \
        -chardev "file,id=q,path=$run_dir/hub" -mon chardev=q,mode=control "${hub[@]}" 2>"$run_dir/hub.said"
    exec {said}<>"$run_dir/hub" # for reading alone it would wait for a writer, which a QEMU that fails never is
    read -rt "$hub_start_s_max" greeting <&"$said" || true
    exec {said}<&-
    [ -n "$greeting" ] ||
        fail "the network between the guests did not start: $(tail -n 1 "$run_dir/hub.said")"
}

# Sets `shares` to QEMU's options, and writes the guest's list of mounts: tag, place, ro or rw.
share_folders() { # folder of the guest
    local entry mode place count=0
    shares=()
    : >"$1/mounts"
    for entry in ro:/usr ro:/etc "${read_dirs[@]/#/ro:}" "${write_dirs[@]/#/rw:}"; do
        mode=${entry%%:*} place=${entry#*:}
        [ "$count" -lt 2 ] || [[ $mode == rw || ($place != /usr/* && $place != /etc/*) ]] || continue
        shares+=(-fsdev "local,id=f$count,path=${place//,/,,},security_model=none,multidevs=remap$([ "$mode" = rw ] || echo ,readonly=on)"
            -device "virtio-9p-pci,fsdev=f$count,mount_tag=share$count")
        printf '%s %s %s\n' "share$count" "$mode" "$place" >>"$1/mounts"
        count=$((count + 1))
    done
    shares+=(-fsdev "local,id=lab,path=${1//,/,,},security_model=none" -device "virtio-9p-pci,fsdev=lab,mount_tag=lab")
    if [ "$guests" -gt 1 ]; then
        printf 'shared rw /run/shared\n' >>"$1/mounts"
        shares+=(-fsdev "local,id=shared,path=${run_dir//,/,,}/shared,security_model=none"
            -device "virtio-9p-pci,fsdev=shared,mount_tag=shared")
    fi
}

# Sets `nodes` to QEMU's options for memory and NUMA nodes.
numa_nodes() {
    local node cpu
    nodes=()
    [ "$numa" -gt 1 ] || return 0
    for ((node = 0; node < numa; node++)); do
        local share=$((memory_mib / numa)) assigned=
        [ $node -gt 0 ] || share=$((memory_mib - share * (numa - 1)))
        for ((cpu = node; cpu < cpus; cpu += numa)); do
            assigned+=,cpus=$cpu
        done
        nodes+=(-object "memory-backend-ram,id=m$node,size=${share}M" -numa "node,nodeid=$node,memdev=m$node$assigned")
    done
}

# Sets `slots` to QEMU's options for the guest's cards, at addresses that do not depend on what else there is.
card_slots() { # guest
    local number more
    slots=()
    for number in "${!cards[@]}"; do
        if [ "$guests" -gt 1 ]; then
            slots+=(-netdev "stream,id=c$number,server=off,addr.type=unix,addr.path=${run_dir//,/,,}/card$1.$number")
        else
            slots+=(-netdev "hubport,id=c$number,hubid=1")
        fi
        more=
        # An old virtio device passes by the IOMMU.
        [ "$iommu" -eq 0 ] || [[ ${cards[number]} != virtio-* ]] || more=,iommu_platform=on,disable-legacy=on
        slots+=(-device "${cards[number]},netdev=c$number,addr=0x1$number,romfile=,mac=52:54:00:78:0$1:0$number$more")
    done
}

# Copies a guest's output to ours, with the guest's number in front where there are several, and without the padding that
# follows it (scripts/lab/main).
forward() { # guest, pipe
    local prefix=
    [ "$guests" -eq 1 ] || prefix="[$1] "
    perl -se 'BEGIN { $| = 1 } while (<STDIN>) { tr/\0//d; print $prefix, $_ if length }' -- "-prefix=$prefix" <"$2"
}

start_guest() { # guest
    local dir=$run_dir/guest$1 shares nodes slots arguments network=() machine=pc iommu_options=() kernel_options='' threads=,thread=multi clock=()
    mkdir "$dir"
    mkfifo "$dir/out" "$dir/err"
    cp "$run_dir/command" "$dir/command"
    {
        echo "guest=$1"
        echo "guests=$guests"
        echo "devices=$devices"
        echo "cards=${#cards[@]}"
        printf 'netem=%q\n' "$netem"
    } >"$dir/settings"
    share_folders "$dir"
    numa_nodes
    card_slots "$1"
    [ "$iommu" -eq 0 ] || machine=q35 iommu_options=(-device intel-iommu,aw-bits=48) kernel_options+=' intel_iommu=on'
    [ "$accel" != kvm ] || threads=
    # The processor's counter then counts nanoseconds: no need to measure it, nor to read the time from a device.
    [ "$own_clock" -eq 0 ] || threads=,thread=single clock=(-icount "shift=$instruction_ns_log2,sleep=off")
    [ "$own_clock" -eq 0 ] || kernel_options+=' tsc=reliable clocksource=tsc tsc_early_khz=1000000 no_timer_check'
    forward "$1" "$dir/out" &
    outputs+=($!)
    forward "$1" "$dir/err" >&2 &
    outputs+=($!)
    if [ "$guests" -gt 1 ]; then
        network=(-netdev "stream,id=net,server=off,addr.type=unix,addr.path=${run_dir//,/,,}/net$1"
            -device "virtio-net-pci,netdev=net,host_mtu=4300,romfile=,mac=52:54:00:77:00:0$1")
    fi
    # shellcheck disable=SC2054 # QEMU's commas
    arguments=(
        -nodefaults -no-user-config -display none -monitor none -no-reboot
        -machine "$machine" -accel "$accel$threads" "${clock[@]}" -cpu max "${iommu_options[@]}"
        -smp "$cpus" -m "$memory_mib" "${nodes[@]}"
        -kernel "$image/vmlinuz" -initrd "$run_dir/initrd"
        -append "console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off nokaslr cryptomgr.notests hugepages=$hugepages $kernel_options"
        -serial "file:$dir/console"
        -device virtio-rng-pci
        -device virtio-serial-pci
        -chardev "file,id=out,path=$dir/out" -device virtserialport,chardev=out,nr=1,name=out
        -chardev "file,id=err,path=$dir/err" -device virtserialport,chardev=err,nr=2,name=err
        "${network[@]}" "${shares[@]}" "${slots[@]}"
    )
    start_child qemu-system-x86_64 "${arguments[@]}" >"$dir/qemu" 2>&1
    machines[$!]=$1
}

# Waits for all guests, whichever ends first, or for the end of the time; sets `status` to that of the first guest whose
# is not 0.
finish_guests() {
    local ended one guest timer statuses=()
    start_child sleep "$timeout_s"
    timer=$!
    while [ ${#machines[@]} -gt 0 ]; do
        one=0
        wait -n -p ended "$timer" "${!machines[@]}" || one=$?
        if [ "$ended" = "$timer" ]; then
            for guest in "${machines[@]}"; do
                show_console_of "$guest"
            done
            echo "softroce-lab: no end after $timeout_s s" >&2
            exit 124
        fi
        guest=${machines[$ended]}
        unset "machines[$ended]"
        # Guests stay up for each other until all are done; one that died is.
        : >"$run_dir/shared/ended.$guest"
        statuses[guest]=0
        guest_status "$guest" "$one" || statuses[guest]=$?
    done
    wait "${outputs[@]}" || true
    status=0
    for one in "${statuses[@]}"; do
        [ "$status" -ne 0 ] || status=$one
    done
}

show_console_of() { # guest
    [ "$show_console" -eq 0 ] || sed "s/^/console $1: /" "$run_dir/guest$1/console" >&2
}

# Returns the status of the guest's command, or 125 with what the guest's kernel said last.
guest_status() { # guest, status of its QEMU
    local dir=$run_dir/guest$1
    show_console_of "$1"
    if [ -s "$dir/status" ]; then
        return "$(cat "$dir/status")"
    fi
    echo "softroce-lab: guest $1 ended without a status (QEMU's was $2); its last words:" >&2
    cat "$dir/qemu" >&2
    [ ! -e "$dir/console" ] || tail -n "$console_lines_max" "$dir/console" >&2
    return 125
}
