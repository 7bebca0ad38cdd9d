/* SPDX-License-Identifier: Apache-2.0 */
/* Which device, port and GID an instance uses. Every refusal names the cause and what to do about it. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/verbs/parts.h"

/* Not 7: soft-RoCE takes it for ever. */
#define RETRIES_MAX 6u

enum cf_rc xp_verbs_fail(struct cf_error *error, enum cf_rc rc, int errno_now, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return rc;
    *error = (struct cf_error){.rc = rc, .system = errno_now, .node = CF_NODE_NONE};
    va_start(args, fmt);
    vsnprintf(error->text, sizeof(error->text), fmt, args);
    va_end(args);
    return rc;
}

static bool number_of(const char *text, uint32_t max, uint32_t *number_out)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    *number_out = (uint32_t)number;
    return end != text && *end == 0 && number <= max;
}

static bool setting_take(struct xp_verbs_address *address, const char *name, const char *value)
{
    uint32_t number;

    if (strcmp(name, "gid") == 0 && number_of(value, 255, &number))
        address->gid_index = (int)number;
    else if (strcmp(name, "port") == 0 && number_of(value, 65535 - XP_VERBS_NODES_MAX, &number))
        address->port_base = number;
    else if (strcmp(name, "retries") == 0 && number_of(value, RETRIES_MAX, &number) && number > 0)
        address->retries = (uint8_t)number;
    else
        return false;
    return true;
}

enum cf_rc xp_verbs_address_parse(const char *rest, struct xp_verbs_address *address, struct cf_error *error)
{
    char text[256], *settings, *slash, *save = NULL;

    *address = (struct xp_verbs_address){.gid_index = -1, .numa_node = -1, .retries = RETRIES_MAX};
    if (snprintf(text, sizeof(text), "%s", rest) >= (int)sizeof(text))
        return xp_verbs_fail(error, CF_OPTION, 0, "transport address is longer than %zu bytes", sizeof(text));
    settings = strchr(text, '?');
    if (settings != NULL)
        *settings++ = 0;
    slash = strchr(text, '/');
    if (slash != NULL) {
        *slash++ = 0;
        if (!number_of(slash, 255, &address->port) || address->port == 0)
            return xp_verbs_fail(error, CF_OPTION, 0, "transport address verbs:%s: '%s' is not a port number",
                                 rest, slash);
    }
    if (strlen(text) >= sizeof(address->device))
        return xp_verbs_fail(error, CF_OPTION, 0, "transport address verbs:%s: device name too long", rest);
    snprintf(address->device, sizeof(address->device), "%.*s", (int)sizeof(address->device) - 1, text);
    for (char *setting = settings != NULL ? strtok_r(settings, "&", &save) : NULL; setting != NULL;
         setting = strtok_r(NULL, "&", &save)) {
        char *value = strchr(setting, '=');

        if (value != NULL)
            *value++ = 0;
        if (value == NULL || !setting_take(address, setting, value))
            return xp_verbs_fail(error, CF_OPTION, 0,
                                 "transport address verbs:%s: settings are gid=N, port=N and retries=1 to 6",
                                 rest);
    }
    return CF_OK;
}

static uint32_t mtu_bytes_of(enum ibv_mtu mtu)
{
    return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 0;
}

static bool is_ipv4(const struct ibv_gid_entry *entry)
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

    return entry->gid_type == IBV_GID_TYPE_ROCE_V2 && memcmp(entry->gid.raw, prefix, sizeof(prefix)) == 0;
}

/* The GID and with it the IP address rdma_cm is bound to. */
static enum cf_rc gid_choose(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                             const struct xp_verbs_address *address, struct cf_error *error)
{
    uint32_t first = address->gid_index >= 0 ? (uint32_t)address->gid_index : 0;
    uint32_t end = address->gid_index >= 0 ? first + 1 : (uint32_t)device->port_attr.gid_tbl_len;

    for (uint32_t i = first; i < end; i++) {
        struct ibv_gid_entry entry;
        struct sockaddr_in *in = (struct sockaddr_in *)&device->address;

        if (calls->query_gid(device->context, device->port, i, &entry) != 0 || !is_ipv4(&entry))
            continue;
        in->sin_family = AF_INET;
        memcpy(&in->sin_addr, entry.gid.raw + 12, sizeof(in->sin_addr));
        device->gid_index = (int)i;
        inet_ntop(AF_INET6, entry.gid.raw, device->gid, sizeof(device->gid));
        return CF_OK;
    }
    if (address->gid_index >= 0)
        return xp_verbs_fail(error, CF_SYSTEM, 0,
                             "GID %d of %s port %u is not a RoCE v2 one with an IPv4 address: choose another "
                             "('ibv_devinfo -v' lists them) or leave gid= out",
                             address->gid_index, device->name, device->port);
    return xp_verbs_fail(error, CF_SYSTEM, 0,
                         "%s port %u has no RoCE v2 GID with an IPv4 address: give its network interface one "
                         "('ip address add', 'ip link set up')",
                         device->name, device->port);
}

/* InfiniBand: the first IPv4 address of this host that rdma_cm finds on the device (IPoIB). */
static enum cf_rc ipoib_find(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                             struct cf_error *error)
{
    struct rdma_event_channel *channel = calls->cm_create_channel();
    struct ifaddrs *all = NULL;
    bool is_found = false;

    if (channel != NULL && getifaddrs(&all) == 0) {
        for (struct ifaddrs *one = all; one != NULL && !is_found; one = one->ifa_next) {
            struct rdma_cm_id *id;

            if (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET ||
                calls->cm_create_id(channel, &id, NULL) != 0)
                continue;
            if (calls->cm_bind(id, one->ifa_addr) == 0 && id->verbs != NULL &&
                strcmp(id->verbs->device->name, device->name) == 0 && id->port_num == device->port) {
                memcpy(&device->address, one->ifa_addr, sizeof(struct sockaddr_in));
                is_found = true;
            }
            calls->cm_destroy_id(id);
        }
        freeifaddrs(all);
    }
    if (channel != NULL)
        calls->cm_destroy_channel(channel);
    ((struct sockaddr_in *)&device->address)->sin_port = 0;
    return is_found ? CF_OK
                    : xp_verbs_fail(error, CF_SYSTEM, 0,
                                    "%s port %u has no IPv4 address: rdma_cm needs IPoIB on it ('ip address "
                                    "add' on its ib interface)",
                                    device->name, device->port);
}

/* How a port is judged: what is wrong with it, or NULL. */
static const char *port_check(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                              uint8_t port)
{
    if (calls->query_port(device->context, port, &device->port_attr) != 0)
        return "cannot be asked";
    if (device->port_attr.state != IBV_PORT_ACTIVE)
        return "is down: bring its link up";
    device->port = port;
    device->mtu_bytes = mtu_bytes_of(device->port_attr.active_mtu);
    return NULL;
}

static enum cf_rc port_choose(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                              const struct xp_verbs_address *address, struct cf_error *error)
{
    const char *why = "does not exist: leave it out or choose another";
    uint32_t ports = device->attr.phys_port_cnt, port = address->port;

    if (port != 0) {
        if (port <= ports)
            why = port_check(device, calls, (uint8_t)port);
    } else {
        for (port = 1; port <= ports && why != NULL; port++)
            why = port_check(device, calls, (uint8_t)port);
        port = 1;
    }
    if (why != NULL)
        return xp_verbs_fail(error, CF_SYSTEM, 0, "%s port %u %s", device->name, port, why);
    if (device->mtu_bytes < XP_VERBS_MTU_MIN)
        return xp_verbs_fail(
            error, CF_SYSTEM, 0,
            "%s port %u has an MTU of %u bytes and needs %u, so that a message is one packet: "
            "raise the MTU of its network interface (1500 at least, 4200 better)",
            device->name, device->port, device->mtu_bytes, XP_VERBS_MTU_MIN);
    return device->port_attr.link_layer == IBV_LINK_LAYER_INFINIBAND
               ? ipoib_find(device, calls, error)
               : gid_choose(device, calls, address, error);
}

static enum cf_rc device_try(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                             struct ibv_device *candidate, const struct xp_verbs_address *address,
                             struct cf_error *error)
{
    enum cf_rc rc;

    *device = (struct xp_verbs_device){.gid_index = -1};
    device->inline_bytes = XP_VERBS_NONE;
    snprintf(device->name, sizeof(device->name), "%s", candidate->name);
    device->context = calls->open_device(candidate);
    if (device->context == NULL)
        return xp_verbs_fail(error, CF_SYSTEM, errno,
                             "device %s cannot be opened: %s (is /dev/infiniband "
                             "readable to this user?)",
                             device->name, strerror(errno));
    if (calls->query_device(device->context, &device->attr) != 0)
        rc = xp_verbs_fail(error, CF_SYSTEM, errno, "device %s does not say what it can do", device->name);
    else
        rc = port_choose(device, calls, address, error);
    if (rc == CF_OK) {
        device->pd = calls->alloc_pd(device->context);
        if (device->pd == NULL)
            rc = xp_verbs_fail(error, CF_SYSTEM, errno, "device %s gives no protection domain: %s",
                               device->name, strerror(errno));
    }
    if (rc != CF_OK)
        xp_verbs_device_close(device, calls);
    return rc;
}

/* What of the devices of this host has been looked at, and how far each is. */
struct search {
    struct ibv_device **list;
    uint32_t count, tried;
    int here; /* the node of the thread that will poll */
    int distance[XP_VERBS_DEVICES_MAX];
    bool is_tried[XP_VERBS_DEVICES_MAX];
};

static void search_begin(struct search *search, const struct xp_verbs_calls *calls, struct ibv_device **list,
                         int count, const struct xp_verbs_address *address)
{
    *search = (struct search){.list = list, .here = address->numa_node};
    search->count = count < (int)XP_VERBS_DEVICES_MAX ? (uint32_t)count : XP_VERBS_DEVICES_MAX;
    if (search->here < 0)
        search->here = calls->own_node();
    for (uint32_t i = 0; i < search->count; i++) {
        int distance = calls->node_distance(search->here, calls->device_node(list[i]->name));

        search->distance[i] = distance >= 0 ? distance : INT_MAX;
        search->is_tried[i] = address->device[0] != 0 && strcmp(list[i]->name, address->device) != 0;
    }
}

/* The nearest that has not been tried, the first of equals; XP_VERBS_NONE: there is none left. */
static uint32_t search_next(struct search *search)
{
    uint32_t best = XP_VERBS_NONE;

    for (uint32_t i = 0; i < search->count; i++)
        if (!search->is_tried[i] && (best == XP_VERBS_NONE || search->distance[i] < search->distance[best]))
            best = i;
    if (best != XP_VERBS_NONE) {
        search->is_tried[best] = true;
        search->tried++;
    }
    return best;
}

/* The one of this name, else the nearest that is usable; of several unusable ones the nearest is named. */
static enum cf_rc device_search(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                                struct ibv_device **list, int count, const struct xp_verbs_address *address,
                                struct cf_error *error)
{
    struct search search;
    uint32_t i;
    enum cf_rc rc = CF_NOT_FOUND;

    search_begin(&search, calls, list, count, address);
    while (rc != CF_OK && (i = search_next(&search)) != XP_VERBS_NONE) {
        rc = device_try(device, calls, list[i], address, search.tried == 1 ? error : NULL);
        if (rc != CF_OK)
            continue;
        device->node = calls->device_node(list[i]->name);
        device->node_here = search.here;
        device->distance = search.distance[i] != INT_MAX ? search.distance[i] : -1;
    }
    if (rc == CF_OK && error != NULL)
        *error = (struct cf_error){.rc = CF_OK, .node = CF_NODE_NONE};
    if (search.tried == 0)
        return xp_verbs_fail(error, CF_NOT_FOUND, 0, "there is no RDMA device '%s': 'ibv_devices' lists them",
                             address->device);
    return rc;
}

enum cf_rc xp_verbs_device_open(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                                const struct xp_verbs_address *address, struct cf_error *error)
{
    int count = 0;
    struct ibv_device **list = calls->get_device_list(&count);
    int errno_now = errno;
    enum cf_rc rc;

    if (list == NULL || count == 0)
        rc = xp_verbs_fail(
            error, CF_NOT_FOUND, list == NULL ? errno_now : 0,
            "there is no RDMA device on this host: load its driver, set up soft-RoCE (docs/rdma.md), "
            "or use transport shm:");
    else
        rc = device_search(device, calls, list, count, address, error);
    if (list != NULL)
        calls->free_device_list(list);
    return rc;
}

enum cf_rc xp_verbs_device_queue(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                                 uint32_t entries, struct cf_error *error)
{
    device->channel = calls->create_comp_channel(device->context);
    if (device->channel == NULL)
        return xp_verbs_fail(error, CF_SYSTEM, errno, "%s gives no completion channel: %s", device->name,
                             strerror(errno));
    device->cq = calls->create_cq(device->context, (int)entries, device->channel);
    if (device->cq == NULL)
        return xp_verbs_fail(error, CF_SYSTEM, errno, "%s gives no completion queue of %u entries: %s",
                             device->name, entries, strerror(errno));
    return CF_OK;
}

void xp_verbs_device_close(struct xp_verbs_device *device, const struct xp_verbs_calls *calls)
{
    if (device->cq != NULL)
        (void)calls->destroy_cq(device->cq);
    if (device->channel != NULL)
        (void)calls->destroy_comp_channel(device->channel);
    if (device->pd != NULL)
        (void)calls->dealloc_pd(device->pd);
    if (device->context != NULL)
        (void)calls->close_device(device->context);
    *device = (struct xp_verbs_device){.gid_index = -1};
}
