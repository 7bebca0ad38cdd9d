/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator wants to know of the device an instance runs on; `cachefusion status` shows it. Any thread. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "transport/verbs/parts.h"

struct page {
    char *text;
    uint32_t bytes, used;
};

static CF_PRINTF(3, 4) void line(struct page *page, const char *name, const char *fmt, ...)
{
    char value[128];
    va_list args;
    int length;

    va_start(args, fmt);
    vsnprintf(value, sizeof(value), fmt, args);
    va_end(args);
    if (page->used >= page->bytes)
        return;
    length = snprintf(page->text + page->used, page->bytes - page->used, "%s %s\n", name, value);
    page->used += (uint32_t)length;
}

/* The kernel counts for a whole port, of all processes. */
static void kernel_count(struct page *page, const struct xp_verbs *vb, const char *name)
{
    char path[192], text[32] = "";
    ssize_t length;
    int fd;

    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%u/hw_counters/%s", vb->device.name,
             vb->device.port, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[strcspn(text, "\n")] = 0;
    if (length > 0)
        line(page, name, "%s", text);
}

uint32_t xp_verbs_describe(const struct xp *xp, char *text, uint32_t bytes)
{
    /* Names of soft-RoCE and of mlx5, as the kernel has them; those a device lacks are left out. */
    static const char *const kernel[] = {"rcvd_rnr_err",       "send_rnr_err",      "retry_rnr_exceeded_err",
                                         "retry_exceeded_err", "ack_deferred",      "completer_retry_err",
                                         "rcvd_seq_err",       "rnr_nak_retry_err", "local_ack_timeout_err",
                                         "out_of_sequence",    "packet_seq_err",    "out_of_buffer"};
    const struct xp_verbs *vb = (const struct xp_verbs *)xp;
    const struct xp_counters *counters = &vb->base.counters;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&vb->peers[vb->node].address;
    struct page page = {.text = text, .bytes = bytes};
    char host[INET_ADDRSTRLEN] = "";

    inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
    line(&page, "device", "%s", vb->device.name);
    line(&page, "port", "%u", vb->device.port);
    line(&page, "link", "%s",
         vb->device.port_attr.link_layer == IBV_LINK_LAYER_INFINIBAND ? "InfiniBand" : "Ethernet");
    line(&page, "mtu", "%u", vb->device.mtu_bytes);
    line(&page, "gid", "%d %s", vb->device.gid_index, vb->device.gid);
    line(&page, "address", "%s:%u", host, ntohs(in->sin_port));
    line(&page, "numa_node", "%d polled from node %d at distance %d", vb->device.node, vb->device.node_here,
         vb->device.distance);
    line(&page, "inline_bytes", "%u", vb->device.inline_bytes == XP_VERBS_NONE ? 0 : vb->device.inline_bytes);
    line(&page, "send_queue", "%u", vb->send_slots + XP_VERBS_READS_MAX);
    line(&page, "completion_queue", "%u", vb->completions_max);
    for (uint32_t i = 0; i < XP_VERBS_POOLS; i++)
        if (vb->pools[i].count != 0)
            line(&page, i == 0 ? "receive_queue" : "receive_queue_blocks", "%u%s%u%s%u", vb->pools[i].count,
                 i == 0 ? "" : " bytes ", i == 0 ? vb->pools[i].wait_count : vb->space.classes[i - 1].bytes,
                 " lent ", vb->pools[i].lent);
    line(&page, "timeout_us", "%u", 4096u * (1u << vb->timeout) / 1000u);
    line(&page, "retries", "%u", vb->retries);
    line(&page, "retries_exceeded", "%" PRIu64, counters->retries_exceeded);
    line(&page, "rnr", "%" PRIu64, counters->rnr);
    line(&page, "device_errors", "%" PRIu64, counters->device_errors);
    line(&page, "resets", "%" PRIu64, counters->resets);
    line(&page, "count_messages", "%" PRIu64, vb->states);
    line(&page, "blocks_without_grant", "%" PRIu64, vb->missing);
    line(&page, "frames_recovered", "%" PRIu64, vb->lost_frames);
    for (uint32_t i = 0; i < CF_COUNTOF(kernel); i++)
        kernel_count(&page, vb, kernel[i]);
    return page.used < bytes ? page.used : bytes;
}
