/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/link/ether.h"
#include "transport/link/wire.h"

#define MTU_MIN (XP_LINK_PACKET_BYTES_MIN + XP_ETHER_IP_BYTES + XP_ETHER_UDP_BYTES)
#define MTU_ETHERNET 1500u
/*
 * Congestion control's target. On software devices a packet waits for a processor, not in a switch, so the target only
 * keeps a peer that is scheduled out from being flooded; on a network Swift's order of magnitude.
 */
#define TARGET_SOFT_NS UINT64_C(10000000)
#define TARGET_WIRE_NS UINT64_C(100000)

static CF_COLD enum cf_rc fail(struct cf_error *error, const char *what, const char *value)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = CF_OPTION, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "dpdk: %s: '%.100s'", what, value);
    }
    return CF_OPTION;
}

/* The name that DPDK and the kernel have for a PCI device; false: the text is none. */
static bool pci_name(const char *text, char name[XP_DPDK_NAME_BYTES])
{
    unsigned domain, bus, device, function;
    int end = 0;

    if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) != 4 || text[end] != 0)
        return false;
    snprintf(name, XP_DPDK_NAME_BYTES, "%04x:%02x:%02x.%x", domain, bus, device, function);
    return true;
}

/* A % in the name of a device is the node's number. False: too long. */
static bool expand(const char *text, uint16_t node, char name[XP_DPDK_NAME_BYTES])
{
    const char *percent = strchr(text, '%');
    int bytes = percent == NULL ? snprintf(name, XP_DPDK_NAME_BYTES, "%s", text)
                                : snprintf(name, XP_DPDK_NAME_BYTES, "%.*s%u%s", (int)(percent - text), text,
                                           node, percent + 1);

    return bytes < (int)XP_DPDK_NAME_BYTES;
}

static enum cf_rc kind_parse(const char *text, uint16_t node, struct xp_dpdk_address *address,
                             struct cf_error *error)
{
    char device[XP_DPDK_NAME_BYTES];
    bool fits = true;

    address->target_ns = TARGET_SOFT_NS;
    address->mtu = XP_DPDK_MTU_MAX;
    if (strcmp(text, "ring") == 0) {
        address->kind = XP_DPDK_RING;
    } else if (strncmp(text, "memif", 5) == 0 && (text[5] == 0 || text[5] == ':')) {
        address->kind = XP_DPDK_MEMIF;
        fits = snprintf(address->name, sizeof(address->name), "%s", text[5] == 0 ? "" : text + 6) <
               (int)sizeof(address->name);
    } else if (strncmp(text, "af_packet:", 10) == 0 && text[10] != 0) {
        address->kind = XP_DPDK_AF_PACKET;
        address->mtu = MTU_ETHERNET;
        fits = expand(text + 10, node, address->name);
    } else if (expand(text, node, device) && pci_name(device, address->name)) {
        address->kind = XP_DPDK_PCI;
        address->mtu = MTU_ETHERNET;
        address->target_ns = TARGET_WIRE_NS;
    } else {
        return fail(error, "an address is ring, memif, af_packet:IFACE or a PCI device as 0000:3b:00.0, not",
                    text);
    }
    return fits ? CF_OK : fail(error, "the address is too long", text);
}

static bool number(const char *text, double min, double max, double *value_out)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != 0 || !(value >= min && value <= max))
        return false;
    *value_out = value;
    return true;
}

static enum cf_rc value_parse(char *pair, struct xp_dpdk_address *address, struct cf_error *error)
{
    static const char *const chances[] = {"loss", "twice", "late", "damage"};
    double *const targets[] = {&address->faults.loss, &address->faults.twice, &address->faults.late,
                               &address->faults.damage};
    char *value = strchr(pair, '=');
    double got;

    if (value == NULL)
        return fail(error, "behind the comma stands NAME=VALUE, not", pair);
    *value++ = 0;
    for (uint32_t i = 0; i < CF_COUNTOF(chances); i++)
        if (strcmp(pair, chances[i]) == 0)
            return number(value, 0, 0.9, targets[i]) ? CF_OK
                                                     : fail(error, "a chance is 0 to 0.9, not", value);
    if (strcmp(pair, "mtu") == 0) {
        if (!number(value, MTU_MIN, XP_DPDK_MTU_MAX, &got)) {
            char what[96];
            snprintf(what, sizeof(what), "mtu is %u (headers and the largest message) to %u bytes, not",
                     MTU_MIN, XP_DPDK_MTU_MAX);
            return fail(error, what, value);
        }
        address->mtu = (uint32_t)got;
    } else if (strcmp(pair, "seed") == 0) {
        if (!number(value, 0, 1e15, &got))
            return fail(error, "seed is a number, not", value);
        address->faults.seed = (uint64_t)got;
    } else if (strcmp(pair, "target") == 0) {
        if (!number(value, 1e3, 1e9, &got))
            return fail(error, "target is 1000 to 1000000000 ns, not", value);
        address->target_ns = (uint64_t)got;
    } else {
        return fail(error, "an address has mtu, target, loss, twice, late, damage and seed, not", pair);
    }
    return CF_OK;
}

enum cf_rc xp_dpdk_address_parse(const char *rest, uint16_t node, struct xp_dpdk_address *address_out,
                                 struct cf_error *error)
{
    struct xp_dpdk_address address = {.faults = {.seed = 1}};
    char text[256], *save = NULL, *part;
    enum cf_rc rc;

    if (snprintf(text, sizeof(text), "%s", rest) >= (int)sizeof(text))
        return fail(error, "the address is too long", rest);
    part = strtok_r(text, ",", &save);
    rc = kind_parse(part != NULL ? part : text, node, &address, error);
    while (rc == CF_OK && (part = strtok_r(NULL, ",", &save)) != NULL)
        rc = value_parse(part, &address, error);
    if (rc == CF_OK)
        *address_out = address;
    return rc;
}
