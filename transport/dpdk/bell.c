/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/bell.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/link/ether.h"

/* Of packets, or so: the kernel rounds it up. */
#define QUEUE_BYTES 2304
/* More than the queue holds. */
#define DRAIN_MAX 64u
/* Offsets in an IPv4 packet without options. */
#define AT_PROTOCOL 9u
#define AT_TO 16u
#define AT_PORT (XP_ETHER_IP_BYTES + 2u)

static bool filter(int fd, uint32_t ip)
{
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, AT_PROTOCOL),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 5),
                                 BPF_STMT(BPF_LD | BPF_H | BPF_ABS, AT_PORT),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, XP_ETHER_PORT, 0, 3),
                                 BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_TO),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ip, 0, 1),
                                 BPF_STMT(BPF_RET | BPF_K, 1),
                                 BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {.len = CF_COUNTOF(code), .filter = code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

int xp_dpdk_bell_open(const char *interface, uint32_t ip)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_IP),
                                  .sll_ifindex = (int)if_nametoindex(interface)};
    int bytes = QUEUE_BYTES;
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (filter(fd, ip) && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0 &&
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

void xp_dpdk_bell_arm(int fd)
{
    char byte;

    for (uint32_t i = 0; i < DRAIN_MAX; i++)
        if (recv(fd, &byte, sizeof(byte), MSG_DONTWAIT) < 0)
            break;
}
