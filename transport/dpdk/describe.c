/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator reads: `cachefusion status` prints it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "transport/dpdk/dpdk.h"

static const char *const kinds[] = {"", "ring", "memif", "af_packet", "pci"};
static const char *const states[] = {"absent", "asked", "granted", "up", "draining", "refused", "self"};

struct text {
    char *at;
    uint32_t bytes;
    uint32_t used;
};

static void line(struct text *text, const char *name, uint64_t value)
{
    int more = snprintf(text->at + text->used, text->bytes - text->used, "%s %" PRIu64 "\n", name, value);

    if (more > 0 && (uint32_t)more < text->bytes - text->used)
        text->used += (uint32_t)more;
    else
        text->at[text->used] = 0;
}

static void peer_lines(struct text *text, const struct xp_dpdk_peer *peer)
{
    const struct xp_link *link = &peer->link;
    const struct xp_link_counters *c = &link->counters;
    int more = snprintf(text->at + text->used, text->bytes - text->used,
                        "peer %u %s srtt %" PRIu64 " ns rto %" PRIu64 " ns window %u/256 again %" PRIu64
                        " lost %" PRIu64 " time-outs %" PRIu64 " duplicates %" PRIu64 " reordered %" PRIu64
                        " probes %" PRIu64 " packets %" PRIu64 " segments %" PRIu64 "\n",
                        peer->node, states[peer->state], link->rtt.srtt_ns, link->rtt.rto_ns,
                        link->swift.window, c->segments_again, c->lost, c->timeouts, c->duplicates,
                        c->reordered, c->probes, c->packets_sent, c->segments_sent);

    if (more > 0 && (uint32_t)more < text->bytes - text->used)
        text->used += (uint32_t)more;
    else
        text->at[text->used] = 0;
}

uint32_t xp_dpdk_describe(const struct xp *xp, char *text, uint32_t bytes)
{
    const struct xp_dpdk *dpdk = (const struct xp_dpdk *)xp;
    const struct xp_dpdk_bus *bus = &dpdk->bus;
    struct text out = {.at = text, .bytes = bytes};
    int more;

    if (bytes == 0)
        return 0;
    more = snprintf(text, bytes, "device %s %s\n", kinds[dpdk->address.kind], dpdk->address.name);
    out.used = more > 0 && (uint32_t)more < bytes ? (uint32_t)more : 0;
    line(&out, "mtu", dpdk->address.mtu);
    line(&out, "frames_received", bus->frames_received);
    line(&out, "frames_sent", bus->frames_sent);
    line(&out, "frames_refused", bus->frames_refused);
    line(&out, "frames_joined", bus->frames_joined);
    line(&out, "frames_cut", bus->frames_cut);
    line(&out, "frames_apart", bus->frames_apart);
    if (dpdk->address.kind == XP_DPDK_PCI)
        line(&out, "link", bus->ports[0].is_linked);
    line(&out, "no_memory", bus->no_memory);
    line(&out, "foreign", dpdk->foreign);
    line(&out, "malformed", dpdk->malformed);
    line(&out, "damaged", dpdk->damaged);
    line(&out, "other_session", dpdk->unknown_session);
    for (uint32_t i = 0; i < dpdk->nodes; i++)
        if (i != dpdk->node)
            peer_lines(&out, &dpdk->peers[i]);
    return out.used;
}
