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
tools=(qemu-system-x86_64 busybox modprobe depmod cpio ip rdma)

install_packages() {
    local tool missing=() said
    for tool in "${tools[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ -e /etc/libibverbs.d/rxe.driver ] || missing+=("the rxe provider of libibverbs")
    [ ${#missing[@]} -gt 0 ] || return 0
    if said=$(SETUP_LAB=1 "$root/scripts/setup" 2>&1) && command -v qemu-system-x86_64 >/dev/null; then
        return 0
    fi
    fail "missing: ${missing[*]}; as root, run: SETUP_LAB=1 scripts/setup ($(tail -n 1 <<<"$said" | sed 's/^ *//'))"
}

# Sets `kernel` to the package linux-image-amd64 stands for and `kernel_version` to its version; empty when apt knows none.
find_kernel() {
    local depends
    depends=$(apt-cache show --no-all-versions linux-image-amd64 2>/dev/null | sed -n 's/^Depends: //p') || true
    kernel=$(sed -n 's/^\(linux-image-[^ ]*\) (= .*/\1/p' <<<"$depends")
    kernel_version=$(sed -n 's/^linux-image-[^ ]* (= \([^)]*\)).*/\1/p' <<<"$depends")
}

# Sets `image` to a folder with vmlinuz and base.cpio.
find_image() {
    local cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/cachefusion-lab
    mkdir -p "$cache" 2>/dev/null || fail "cannot make $cache; set XDG_CACHE_HOME to a folder you may write to"
    find_kernel
    if [ -z "$kernel" ] && image=$(newest_image "$cache"); then
        return 0
    fi
    if [ -z "$kernel" ] && [ "$(id -u)" -eq 0 ]; then
        apt-get update -q >/dev/null 2>&1 || true
        find_kernel
    fi
    [ -n "$kernel" ] || fail "apt knows no linux-image-amd64; on Debian run: apt-get update"
    image=$cache/${kernel}_${kernel_version}_$(printf '%s ' "${modules[@]}" | cksum | cut -d ' ' -f 1)
    (
        flock 9
        [ -e "$image/base.cpio" ] || build_image "$image"
    ) 9>"$cache/lock"
}

newest_image() { # cache folder; prints the image built last
    local found
    found=$(find "$1" -mindepth 2 -maxdepth 2 -name base.cpio -printf '%T@ %h\n' | sort -n | tail -n 1)
    [ -n "$found" ] && echo "${found#* }"
}

build_image() { # the folder to make, complete or not at all
    local work=$1.new release=${kernel#linux-image-}
    echo "softroce-lab: building the guest image from $kernel $kernel_version" >&2
    rm -rf -- "$work"
    mkdir -p "$work/deb" "$work/files/modules"
    (cd "$work/deb" && apt-get download -q "$kernel=$kernel_version" >"$work/log" 2>&1) ||
        fail "cannot download $kernel $kernel_version: $(tail -n 1 "$work/log")"
    dpkg -x "$work/deb"/*.deb "$work/kernel"
    PATH=$PATH:/usr/sbin:/sbin
    depmod -b "$work/kernel" "$release"
    local module
    for module in "${modules[@]}"; do
        modprobe -d "$work/kernel" -S "$release" --show-depends "$module" || fail "$kernel has no module $module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/list"
    [ "${PIPESTATUS[0]}" -eq 0 ] || exit 125
    xargs -a "$work/list" cp -t "$work/files/modules"
    sed 's,.*/,,' "$work/list" >"$work/files/modules/order"
    cp "$(command -v busybox)" "$work/files/busybox"
    (cd "$work/files" && find . | cpio -o -H newc -R 0:0 --quiet) >"$work/base.cpio"
    mv "$work/kernel/boot/vmlinuz-$release" "$work/vmlinuz"
    rm -rf -- "$work/deb" "$work/kernel" "$work/files" "$work/list" "$work/log" "$1"
    mv -- "$work" "$1"
}
