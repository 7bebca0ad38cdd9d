/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CARDS "/sys/bus/pci/devices/"
#define AF_PACKET_MTU_MAX 1500u
#define WHAT_BYTES 120u

static CF_COLD enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *device, const char *what,
                               const char *remedy)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = rc, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "dpdk: %.100s: %s; %s", device, what, remedy);
    }
    return rc;
}

/* Drivers that leave a card to user space, or share it with DPDK. */
static bool is_usable(const char *driver)
{
    static const char *const drivers[] = {"vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_core", "mlx4_core"};

    for (uint32_t i = 0; i < CF_COUNTOF(drivers); i++)
        if (strcmp(driver, drivers[i]) == 0)
            return true;
    return false;
}

static enum cf_rc card_check(const char *card, struct cf_error *error)
{
    char path[160], link[PATH_MAX], what[WHAT_BYTES];
    const char *driver = "";
    ssize_t bytes;

    snprintf(path, sizeof(path), CARDS "%s", card);
    if (access(path, F_OK) != 0)
        return fail(error, CF_NOT_FOUND, card, "no such PCI device", "lspci -D shows those there are");
    snprintf(path, sizeof(path), CARDS "%s/driver", card);
    bytes = readlink(path, link, sizeof(link) - 1);
    if (bytes > 0) {
        link[bytes] = 0;
        driver = strrchr(link, '/') != NULL ? strrchr(link, '/') + 1 : link;
    }
    if (is_usable(driver))
        return CF_OK;
    if (bytes > 0)
        snprintf(what, sizeof(what), "the device belongs to the kernel's driver %.40s, which DPDK cannot use",
                 driver);
    else
        snprintf(what, sizeof(what), "the device is not bound to any driver");
    return fail(error, CF_NOT_FOUND, card, what, "dpdk-devbind.py --bind=vfio-pci, see docs/dpdk.md");
}

/* vfio gives a card away once, uio to whoever asks: two drivers on one card. A lock on what the kernel shows of it. */
static enum cf_rc card_claim(const char *card, int *claim_out, struct cf_error *error)
{
    char path[160];
    int fd;

    snprintf(path, sizeof(path), CARDS "%s", card);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *claim_out = fd;
        return CF_OK;
    }
    if (fd >= 0)
        close(fd);
    if (errno != EWOULDBLOCK)
        return fail(error, CF_SYSTEM, card, strerror(errno),
                    "the card cannot be locked against other instances");
    return fail(error, CF_NODE_TAKEN, card, "another instance runs on this card already",
                "one instance a card: end the other, or name another card");
}

/* A name in the abstract namespace is, as the interface is, of one network namespace. */
static enum cf_rc claim(const char *interface, int *claim_out, struct cf_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int bytes = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "cachefusion-dpdk-%s",
                         interface);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)bytes)) == 0) {
        *claim_out = fd;
        return CF_OK;
    }
    if (fd >= 0)
        close(fd);
    if (errno != EADDRINUSE)
        return fail(error, CF_SYSTEM, interface, strerror(errno), "a name for the interface cannot be taken");
    return fail(error, CF_NODE_TAKEN, interface, "another instance runs on this interface already",
                "one instance an interface: end the other, or name another interface");
}

static enum cf_rc interface_check(const struct xp_dpdk_address *address, struct cf_error *error)
{
    const char *interface = address->name;
    const size_t length = strlen(interface);
    struct ifreq request = {.ifr_flags = 0};
    char what[WHAT_BYTES], remedy[64];
    bool is_up, has_mtu;
    int fd;

    if (length >= IFNAMSIZ || if_nametoindex(interface) == 0)
        return fail(error, CF_NOT_FOUND, interface, "no such network interface",
                    "ip link shows those there are");
    if (address->mtu > AF_PACKET_MTU_MAX)
        return fail(error, CF_OPTION, interface, "af_packet takes frames of at most 1518 bytes", "mtu=1500");
    fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(error, CF_SYSTEM, interface, "a raw socket needs CAP_NET_RAW",
                    "run as root or setcap cap_net_raw");
    memcpy(request.ifr_name, interface, length);
    is_up = ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
    has_mtu = ioctl(fd, SIOCGIFMTU, &request) == 0;
    close(fd);
    if (!is_up)
        return fail(error, CF_SYSTEM, interface, "the interface is down", "ip link set IFACE up");
    if (has_mtu && (uint32_t)request.ifr_mtu < address->mtu) {
        snprintf(what, sizeof(what), "the interface takes packets of %d bytes, the address says %u",
                 request.ifr_mtu, address->mtu);
        snprintf(remedy, sizeof(remedy), "mtu=%d, or a larger MTU of the interface", request.ifr_mtu);
        return fail(error, CF_OPTION, interface, what, remedy);
    }
    return CF_OK;
}

enum cf_rc xp_dpdk_check(const struct xp_dpdk_address *address, int *claim_out, struct cf_error *error)
{
    enum cf_rc rc;

    *claim_out = -1;
    switch (address->kind) {
    case XP_DPDK_PCI:
        rc = card_check(address->name, error);
        return rc == CF_OK ? card_claim(address->name, claim_out, error) : rc;
    case XP_DPDK_AF_PACKET:
        rc = interface_check(address, error);
        return rc == CF_OK ? claim(address->name, claim_out, error) : rc;
    case XP_DPDK_RING:
    case XP_DPDK_MEMIF:
        break;
    }
    return CF_OK;
}
