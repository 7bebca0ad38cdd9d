# shellcheck shell=bash disable=SC2154 # variables are those of scripts/softroce-lab
# SPDX-License-Identifier: Apache-2.0
# Read by scripts/softroce-lab: the packages the lab needs, and the guest's kernel with its modules. The image is kept in
# the user's cache under the kernel package's name and version: it is built once, not installed.

modules=(
    virtio_pci virtio_console virtio_rng 9p 9pnet_virtio virtio_net
    veth bridge sch_netem
    rdma_rxe ib_uverbs rdma_ucm ib_umad
    # rdma_rxe asks for the "crc32" algorithm when a device is made, which no module's dependencies tell
    crc32_generic
)
# Loaded where there are cards: what hands one to a process, and a driver of the kernel's to take it from.
card_modules=(uio_pci_generic vfio_pci vfio_iommu_type1 e1000e)
tools=(qemu-system-x86_64 busybox modprobe depmod cpio ip rdma ibv_devinfo rping ib_send_lat)
PATH=$PATH:/usr/sbin:/sbin

missing_tools() {
    local tool
    for tool in "${tools[@]}"; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
    [ -e /etc/libibverbs.d/rxe.driver ] || echo "rxe.driver of libibverbs"
}

install_packages() {
    local said remedy
    if [ -n "$(missing_tools)" ]; then
        said=$(SETUP_LAB=1 "$root/scripts/setup" 2>&1) || true
        remedy=$(grep -o 'apt-get update && .*' <<<"$said" || echo "SETUP_LAB=1 scripts/setup")
        [ -z "$(missing_tools)" ] || cannot "missing: $(missing_tools | paste -sd ,); as root, run: $remedy"
    fi
    said=$(qemu-system-x86_64 --version 2>&1) || cannot "qemu-system-x86_64 does not run here: $said"
}

# Sets `kernel` to the package linux-image-amd64 stands for and `kernel_version` to its version; empty when apt knows none.
find_kernel() {
    local depends
    depends=$(apt-cache show --no-all-versions linux-image-amd64 2>/dev/null | sed -n 's/^Depends: //p') || true
    kernel=$(sed -n 's/^\(linux-image-[^ ]*\) (= .*/\1/p' <<<"$depends")
    kernel_version=$(sed -n 's/^linux-image-[^ ]* (= \([^)]*\)).*/\1/p' <<<"$depends")
}

# Sets `image` to a folder with vmlinuz and base.cpio: that of the kernel apt would install, else the last that was built.
find_image() {
    local cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/cachefusion-lab
    mkdir -p "$cache" 2>/dev/null || fail "cannot make $cache; set XDG_CACHE_HOME to a folder you may write to"
    exec 9>"$cache/lock"
    flock 9
    find_kernel
    if ! have_image "$cache" && ! { update_lists && find_kernel && have_image "$cache"; }; then
        image=$(newest_image "$cache")
        [ -n "$image" ] || cannot "cannot download the guest's kernel (linux-image-amd64); on Debian, as root, run: apt-get update"
        echo "softroce-lab: cannot download ${kernel:-a kernel}; using ${image##*/}" >&2
    fi
    exec 9>&-
}

update_lists() {
    [ "$(id -u)" -eq 0 ] && apt-get update -q >/dev/null 2>&1
}

have_image() { # cache folder
    [ -n "$kernel" ] || return 1
    image=$1/${kernel}_${kernel_version}_$(printf '%s ' "${modules[@]}" "${card_modules[@]}" | cksum | cut -d ' ' -f 1)
    [ -e "$image/base.cpio" ] || { download_kernel "$image.new" && build_image "$image"; }
}

newest_image() { # cache folder; prints the image built last
    local found
    found=$(find "$1" -mindepth 2 -maxdepth 2 -name base.cpio ! -path '*.new/*' -printf '%T@ %h\n' | sort -n | tail -n 1)
    echo "${found#* }"
}

download_kernel() { # folder to work in
    echo "softroce-lab: building the guest image from $kernel $kernel_version" >&2
    rm -rf -- "$1"
    mkdir -p "$1/deb" || fail "cannot write to $1"
    (cd "$1/deb" && apt-get download -q "$kernel=$kernel_version" >/dev/null 2>&1) || { rm -rf -- "$1" && false; }
}

# Without help from errexit: callers ask whether it worked.
build_image() { # the folder to make, complete or not at all; the package is in FOLDER.new
    local work=$1.new release=${kernel#linux-image-}
    if ! dpkg -x "$work/deb"/*.deb "$work/kernel" || ! depmod -b "$work/kernel" "$release"; then
        fail "cannot unpack $kernel in $work"
    fi
    list_modules "$work"
    pack_image "$work" "$release" || fail "cannot write the image to $work"
    rm -rf -- "$work/deb" "$work/kernel" "$work/files" "$work/order" "$work/cards" "$work/depends" "$1"
    mv -- "$work" "$1" || fail "cannot write $1"
}

# The modules' files and those they need, in the order of loading; `cards` has what is not in `order`.
list_modules() { # folder with the unpacked kernel
    local work=$1 module
    for module in "${modules[@]}" -- "${card_modules[@]}"; do
        if [ "$module" = -- ]; then
            echo "$module"
        else
            modprobe -d "$work/kernel" -S "$release" --show-depends "$module" || fail "$kernel has no module $module"
        fi
    done >"$work/depends"
    awk -v work="$work" '$1 == "--" { cards = 1 } $1 == "insmod" && !seen[$2]++ { print $2 >(work (cards ? "/cards" : "/order")) }' \
        "$work/depends"
}

pack_image() { # folder with the unpacked kernel and the list of modules, the kernel's release
    mkdir -p "$1/files/modules" &&
        cat "$1/order" "$1/cards" | xargs cp -t "$1/files/modules" &&
        sed 's,.*/,,' "$1/order" >"$1/files/modules/order" &&
        sed 's,.*/,,' "$1/cards" >"$1/files/modules/cards" &&
        cp "$(command -v busybox)" "$1/files/busybox" &&
        (cd "$1/files" && find . | cpio -o -H newc -R 0:0 --quiet) >"$1/base.cpio" &&
        mv "$1/kernel/boot/vmlinuz-$2" "$1/vmlinuz"
}
