/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the network device: where it is, who serves its interrupts, the size of packets, flow control. */
#include <inttypes.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/units.h"
#include "tools/tune/tune.h"

/* RoCE carries 4,096 bytes of a block in a packet when its headers fit beside them; dpdk: wants a block in one. */
#define MTU_ROCE_MIN 4200u
#define MTU_BLOCK_MIN 9000u
#define FLOW_STATS_MAX 16384u

static bool is_infiniband(const struct tune_host *host)
{
    return host->nic[0] != '\0' && tune_exists(host, "/sys/class/infiniband/%s", host->nic);
}

/* RDMA over Ethernet: what is not said to be InfiniBand. */
static bool is_roce(const struct tune_host *host)
{
    char layer[TUNE_NAME_BYTES];

    return is_infiniband(host) &&
           (!tune_read(host, layer, sizeof layer, "/sys/class/infiniband/%s/ports/1/link_layer", host->nic) ||
            strcmp(layer, "InfiniBand") != 0);
}

/* "infiniband" or "net": the class that knows the device; NULL = neither. */
static const char *class_of(const struct tune_host *host)
{
    if (is_infiniband(host))
        return "infiniband";
    return host->nic[0] != '\0' && tune_exists(host, "/sys/class/net/%s", host->nic) ? "net" : NULL;
}

static void keep_first(void *arg, const char *name)
{
    char *first = arg;

    if (first[0] == '\0')
        snprintf(first, TUNE_NAME_BYTES, "%s", name);
}

void tune_host_find_nic(struct tune_host *host)
{
    char folder[TUNE_PATH_BYTES];

    if (host->nic[0] == '\0')
        (void)tune_each(host, "/sys/class/infiniband", "", keep_first, host->nic);
    host->nic[strcspn(host->nic, "/")] = '\0'; /* a port: mlx5_0/1 */
    if (is_infiniband(host)) {
        host->is_rdma = true;
        snprintf(folder, sizeof folder, "/sys/class/infiniband/%s/device/net", host->nic);
        (void)tune_each(host, folder, "", keep_first, host->net);
        /* soft-RoCE names the interface it stands on */
        if (host->net[0] == '\0')
            (void)tune_read(host, host->net, sizeof host->net, "/sys/class/infiniband/%s/parent", host->nic);
    } else if (class_of(host) != NULL) {
        memcpy(host->net, host->nic, sizeof host->net);
    }
}

void tune_look_nic(const struct tune_host *host, struct tune_finding *finding)
{
    uint32_t nodes = tune_each(host, "/sys/devices/system/node", "node", NULL, NULL);
    const char *class = class_of(host);
    char node[32], cpus[TUNE_TEXT_BYTES];

    if (host->nic[0] == '\0') {
        tune_say(finding, TUNE_NONE, "no RDMA device; --nic names another");
        return;
    }
    if (class == NULL) {
        tune_say(finding, TUNE_FAIL, "%s: there is no such device", host->nic);
        return;
    }
    if (!tune_read(host, node, sizeof node, "/sys/class/%s/%s/device/numa_node", class, host->nic) ||
        strcmp(node, "-1") == 0) {
        tune_say(finding, nodes > 1 ? TUNE_WARN : TUNE_PASS, "%s is near to no node%s", host->nic,
                 nodes > 1 ? "; the firmware does not tell, choose by measuring" : ", and there is one only");
        return;
    }
    if (!tune_read(host, cpus, sizeof cpus, "/sys/class/%s/%s/device/local_cpulist", class, host->nic))
        snprintf(cpus, sizeof cpus, "unknown");
    if (host->poller_cpu >= 0 && strcmp(cpus, "unknown") != 0 &&
        !tune_list_has(cpus, (uint64_t)host->poller_cpu)) {
        tune_say(finding, TUNE_WARN, "%s is on node %s (cpus %.120s), the plan polls on cpu %d", host->nic,
                 node, cpus, host->poller_cpu);
        tune_mend(finding, "numactl --cpunodebind=%s --membind=%s cachefusion instance ...", node, node);
        return;
    }
    tune_say(finding, TUNE_PASS, "%s is on node %s (cpus %.120s)", host->nic, node, cpus);
}

struct irqs {
    const struct tune_host *host;
    uint32_t known, on_poller;
    char first[16];
};

static void on_irq(void *arg, const char *name)
{
    struct irqs *irqs = arg;
    char list[TUNE_TEXT_BYTES];

    if (!tune_read(irqs->host, list, sizeof list, "/proc/irq/%s/effective_affinity_list", name) &&
        !tune_read(irqs->host, list, sizeof list, "/proc/irq/%s/smp_affinity_list", name))
        return;
    irqs->known++;
    if (irqs->host->poller_cpu < 0 || !tune_list_has(list, (uint64_t)irqs->host->poller_cpu))
        return;
    if (irqs->on_poller++ == 0)
        snprintf(irqs->first, sizeof irqs->first, "%.15s", name);
}

void tune_look_irq(const struct tune_host *host, struct tune_finding *finding)
{
    struct irqs irqs = {.host = host};
    const char *class = class_of(host);
    char folder[TUNE_PATH_BYTES];

    if (class != NULL) {
        snprintf(folder, sizeof folder, "/sys/class/%s/%s/device/msi_irqs", class, host->nic);
        (void)tune_each(host, folder, "", on_irq, &irqs);
    }
    if (irqs.known == 0) {
        tune_say(finding, TUNE_NONE, "no device with interrupts of its own");
    } else if (irqs.on_poller == 0) {
        tune_say(finding, TUNE_PASS, "none of %u of %s goes to a poller's cpu", irqs.known, host->nic);
    } else {
        tune_say(finding, TUNE_WARN, "%u of %u of %s go to cpu %d, where the poller runs", irqs.on_poller,
                 irqs.known, host->nic, host->poller_cpu);
        tune_mend(finding, "systemctl stop irqbalance; echo CPUS > /proc/irq/%s/smp_affinity_list",
                  irqs.first);
    }
}

void tune_look_mtu(const struct tune_host *host, struct tune_finding *finding)
{
    uint64_t mtu, least = is_infiniband(host) ? MTU_ROCE_MIN : MTU_BLOCK_MIN;

    if (is_infiniband(host) && !is_roce(host)) {
        tune_say(finding, TUNE_NONE, "InfiniBand: the subnet manager sets it");
        return;
    }
    if (host->net[0] == '\0' || !tune_read_u64(host, &mtu, "/sys/class/net/%s/mtu", host->net)) {
        tune_say(finding, TUNE_NONE, "no network interface");
        return;
    }
    if (mtu >= least) {
        tune_say(finding, TUNE_PASS, "%s: %" PRIu64, host->net, mtu);
        return;
    }
    tune_say(finding, TUNE_WARN, "%s: %" PRIu64 ", a block takes %s packets than with %" PRIu64, host->net,
             mtu, mtu <= 2200 ? "four times as many or more" : "more", least);
    tune_mend(finding, "ip link set dev %s mtu 9000 (switches and peers too)", host->net);
}

/* ------------------------------------------------------------------ pause frames and congestion notification */

static bool ethtool(const struct tune_host *host, int fd, void *command)
{
    struct ifreq request = {.ifr_data = command};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%.*s", (int)sizeof request.ifr_name - 1, host->net);
    return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

/* Drivers count pause frames of a class as rx_prio3_pause, tx_prio3_pause and the like. */
static void stats_read(struct tune_host *host, int fd)
{
    union { /* the head, and the one count that follows it */
        struct ethtool_sset_info head;
        uint32_t words[sizeof(struct ethtool_sset_info) / sizeof(uint32_t) + 1];
    } info = {.head = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_STATS}};
    struct ethtool_gstrings *names;
    struct ethtool_stats *values;
    uint32_t count;

    if (!ethtool(host, fd, &info) || info.head.sset_mask == 0)
        return;
    count = info.words[CF_COUNTOF(info.words) - 1];
    if (count == 0 || count > FLOW_STATS_MAX)
        return;
    names = calloc(1, sizeof *names + (size_t)count * ETH_GSTRING_LEN);
    values = calloc(1, sizeof *values + (size_t)count * sizeof(uint64_t));
    if (names != NULL && values != NULL) {
        names->cmd = ETHTOOL_GSTRINGS;
        names->string_set = ETH_SS_STATS;
        names->len = count;
        values->cmd = ETHTOOL_GSTATS;
        values->n_stats = count;
        if (ethtool(host, fd, names) && ethtool(host, fd, values) && names->len <= count) {
            for (uint32_t i = 0; i < names->len; i++) {
                char name[ETH_GSTRING_LEN + 1] = "";

                memcpy(name, names->data + (size_t)i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
                if (strstr(name, "prio") == NULL || strstr(name, "pause") == NULL)
                    continue;
                host->flow.has_priority_pause = true;
                host->flow.priority_pauses += values->data[i];
            }
        }
    }
    free(names);
    free(values);
}

void tune_flow_read(struct tune_host *host)
{
    struct ethtool_pauseparam pause = {.cmd = ETHTOOL_GPAUSEPARAM};
    int fd;

    if (host->net[0] == '\0')
        return;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (ethtool(host, fd, &pause)) {
        host->flow.is_known = true;
        host->flow.rx_pause = pause.rx_pause != 0;
        host->flow.tx_pause = pause.tx_pause != 0;
        stats_read(host, fd);
    }
    close(fd);
}

struct ecn {
    const struct tune_host *host;
    const char *role;
    uint32_t known, on;
};

static void on_priority(void *arg, const char *name)
{
    struct ecn *ecn = arg;
    uint64_t is_on;

    if (!tune_read_u64(ecn->host, &is_on, "/sys/class/net/%s/ecn/%s/enable/%s", ecn->host->net, ecn->role,
                       name))
        return;
    ecn->known++;
    ecn->on += is_on != 0;
}

static struct ecn ecn_of(const struct tune_host *host, const char *role)
{
    struct ecn ecn = {.host = host, .role = role};
    char folder[TUNE_PATH_BYTES];

    snprintf(folder, sizeof folder, "/sys/class/net/%s/ecn/%s/enable", host->net, role);
    (void)tune_each(host, folder, "", on_priority, &ecn);
    return ecn;
}

void tune_look_flow(const struct tune_host *host, struct tune_finding *finding)
{
    struct ecn sender, receiver;
    char ecn[64] = "ECN unknown";

    if (!is_roce(host) || host->net[0] == '\0') {
        tune_say(finding, TUNE_NONE, "no RoCE device");
        return;
    }
    sender = ecn_of(host, "roce_rp");
    receiver = ecn_of(host, "roce_np");
    if (sender.known + receiver.known != 0)
        snprintf(ecn, sizeof ecn, "ECN on %u of %u classes sending, %u of %u receiving", sender.on,
                 sender.known, receiver.on, receiver.known);
    if (!host->flow.is_known && sender.known + receiver.known == 0) {
        tune_say(finding, TUNE_NONE, "%s: its driver shows neither pause frames nor ECN", host->net);
        return;
    }
    if (host->flow.rx_pause || host->flow.tx_pause || host->flow.priority_pauses != 0 ||
        (sender.on != 0 && receiver.on != 0)) {
        tune_say(finding, TUNE_PASS, "%s: pause rx %s tx %s, %" PRIu64 " pauses of classes, %s", host->net,
                 host->flow.rx_pause ? "on" : "off", host->flow.tx_pause ? "on" : "off",
                 host->flow.priority_pauses, ecn);
        return;
    }
    tune_say(finding, TUNE_WARN, "%s: no pause frames%s, %s: a full switch drops, and RoCE resends slowly",
             host->net, host->flow.has_priority_pause ? " seen in any class" : "", ecn);
    tune_mend(finding,
              host->flow.has_priority_pause ? "mlnx_qos -i %s --pfc 0,0,0,1,0,0,0,0 (the switch too)"
                                            : "ethtool -A %s rx on tx on (the switch too)",
              host->net);
}
