/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verbs provider says when a device cannot be used, and what it refuses before it sends a packet: addresses,
 * devices, ports, GIDs, MTU, locked memory, signatures and facts of peers. No device is needed: a table of calls plays
 * one. Connections and data are in tests/hw.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/hash.h"
#include "transport/shm/hello.h"
#include "transport/verbs/parts.h"

/* The device that is played; the calls carry no context of ours. */
static struct {
    int count;
    enum ibv_port_state state;
    enum ibv_mtu mtu;
    bool has_ipv4;
    uint32_t gid_type;
    const char *const *peers;
    int living;         /* objects made and not taken back */
    int nodes[3];       /* of the devices */
    uint32_t port_down; /* bit a device: its port is down */
    struct ibv_device device, further[2];
    struct ibv_context context;
    struct ibv_pd pd;
    struct ibv_device *list[4];
} played;

/* Node 1 is the own one. */
static int device_node(const char *device)
{
    return played.nodes[device[4] - '0'];
}

static int own_node(void)
{
    return 1;
}

static int node_distance(int from, int to)
{
    return to < 0 ? -1 : 10 + 11 * (from > to ? from - to : to - from);
}

static struct ibv_device **get_device_list(int *count)
{
    *count = played.count;
    played.list[0] = &played.device;
    played.list[1] = &played.further[0];
    played.list[2] = &played.further[1];
    played.list[played.count] = NULL;
    return played.list;
}

static void free_device_list(struct ibv_device **list)
{
    assert_ptr_equal(list, played.list);
}

static struct ibv_context *open_device(struct ibv_device *device)
{
    played.living++;
    played.context.device = device;
    return &played.context;
}

static int close_device(struct ibv_context *context)
{
    (void)context;
    played.living--;
    return 0;
}

static int query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    (void)context;
    *attr = (struct ibv_device_attr){
        .phys_port_cnt = 1, .max_qp_wr = 4096, .max_srq_wr = 4096, .max_cqe = 4096};
    return 0;
}

static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    bool is_down = (played.port_down >> (context->device->name[4] - '0') & 1) != 0;

    assert_int_equal(port, 1);
    *attr = (struct ibv_port_attr){.state = is_down ? IBV_PORT_DOWN : played.state,
                                   .active_mtu = played.mtu,
                                   .gid_tbl_len = 3,
                                   .link_layer = IBV_LINK_LAYER_ETHERNET};
    return 0;
}

/* Index 0: the link-local one; 1: version 1 of RoCE, or nothing; 2: what is looked for, if it is there. */
static int query_gid(struct ibv_context *context, uint32_t port, uint32_t index, struct ibv_gid_entry *entry)
{
    (void)context;
    (void)port;
    *entry = (struct ibv_gid_entry){.gid_index = index, .gid_type = IBV_GID_TYPE_ROCE_V2};
    entry->gid.raw[0] = 0xfe;
    entry->gid.raw[1] = 0x80;
    if (index == 0)
        return 0;
    memset(entry->gid.raw, 0, 10);
    entry->gid.raw[10] = entry->gid.raw[11] = 0xff;
    entry->gid.raw[12] = 192;
    entry->gid.raw[15] = 7;
    entry->gid_type = index == 1 ? IBV_GID_TYPE_ROCE_V1 : played.gid_type;
    return index == 2 && !played.has_ipv4 ? ENODATA : 0;
}

static struct ibv_pd *alloc_pd(struct ibv_context *context)
{
    (void)context;
    played.living++;
    return &played.pd;
}

static int dealloc_pd(struct ibv_pd *pd)
{
    (void)pd;
    played.living--;
    return 0;
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *address, size_t bytes, int access)
{
    (void)pd, (void)address, (void)bytes;
    assert_int_equal(access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC), 0); /* V-5: frames */
    errno = ENOMEM;
    return NULL;
}

static const struct xp_verbs_calls calls = {.device_node = device_node,
                                            .own_node = own_node,
                                            .node_distance = node_distance,
                                            .get_device_list = get_device_list,
                                            .free_device_list = free_device_list,
                                            .open_device = open_device,
                                            .close_device = close_device,
                                            .query_device = query_device,
                                            .query_port = query_port,
                                            .query_gid = query_gid,
                                            .alloc_pd = alloc_pd,
                                            .dealloc_pd = dealloc_pd,
                                            .reg_mr = reg_mr};

static void play(void)
{
    memset(&played, 0, sizeof(played));
    played.count = 1;
    played.state = IBV_PORT_ACTIVE;
    played.mtu = IBV_MTU_4096;
    played.has_ipv4 = true;
    played.gid_type = IBV_GID_TYPE_ROCE_V2;
    snprintf(played.device.name, sizeof(played.device.name), "play0");
    snprintf(played.further[0].name, sizeof(played.further[0].name), "play1");
    snprintf(played.further[1].name, sizeof(played.further[1].name), "play2");
}

static struct xp_options options_of(const char *address)
{
    return (struct xp_options){.address = address,
                               .nodes = 2,
                               .incarnation = 1,
                               .cluster = "played",
                               .secret = "not a secret",
                               .epoch = 1,
                               .lane_slots = 16,
                               .peers = played.peers,
                               .network = (void *)(uintptr_t)&calls};
}

/* Opening is refused with this code, and the text names cause and remedy. */
static void expect_refused(const char *address, enum cf_rc rc, const char *cause, const char *remedy)
{
    struct xp_options options = options_of(address);
    struct cf_error error = {.rc = 0};
    struct xp *xp = NULL;

    assert_int_equal(xp_open(&options, &xp, &error), rc);
    assert_null(xp);
    assert_int_equal(error.rc, rc);
    assert_null(strchr(error.text, '\n'));
    if (strstr(error.text, cause) == NULL || strstr(error.text, remedy) == NULL)
        fail_msg("'%s' lacks '%s' or '%s'", error.text, cause, remedy);
    assert_int_equal(played.living, 0);
}

static void what_is_wrong_with_a_device_is_said_with_its_remedy(void **state)
{
    (void)state;
    play();
    played.count = 0;
    expect_refused("verbs:", CF_NOT_FOUND, "no RDMA device", "shm:");
    play();
    expect_refused("verbs:other0", CF_NOT_FOUND, "other0", "ibv_devices");
    played.state = IBV_PORT_DOWN;
    expect_refused("verbs:", CF_SYSTEM, "play0 port 1 is down", "bring its link up");
    play();
    expect_refused("verbs:play0/2", CF_SYSTEM, "play0 port 2 does not exist", "choose another");
    played.has_ipv4 = false;
    expect_refused("verbs:", CF_SYSTEM, "no RoCE v2 GID", "ip address add");
    play();
    played.gid_type = IBV_GID_TYPE_ROCE_V1;
    expect_refused("verbs:", CF_SYSTEM, "no RoCE v2 GID", "ip address add");
    play();
    expect_refused("verbs:?gid=1", CF_SYSTEM, "GID 1 of play0 port 1 is not a RoCE v2 one", "ibv_devinfo");
    played.mtu = IBV_MTU_512;
    expect_refused("verbs:", CF_SYSTEM, "MTU of 512 bytes and needs 1024", "raise the MTU");
}

static void addresses_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    play();
    expect_refused("verbs:play0/x", CF_OPTION, "'x' is not a port number", "verbs:");
    expect_refused("verbs:?speed=9", CF_OPTION, "settings are", "gid=N");
    expect_refused("verbs:?gid=-1", CF_OPTION, "settings are", "gid=N");
    expect_refused("verbs:?retries=7", CF_OPTION, "settings are", "retries=1 to 6");
    expect_refused("verbs:?retries=0", CF_OPTION, "settings are", "retries=1 to 6");
    expect_refused("verbs:?port=70000", CF_OPTION, "settings are", "port=N");
    played.peers = (const char *const[]){"192.0.2.1:0", "192.0.2.2"};
    expect_refused("verbs:", CF_OPTION, "node 0", "port");
    played.peers = (const char *const[]){"192.0.2.1", "not a host"};
    expect_refused("verbs:", CF_OPTION, "'not a host' of node 1", "");
}

static void a_device_that_is_there_is_taken_with_its_address(void **state)
{
    struct xp_options options = options_of("verbs:play0/1?gid=2&port=4000");
    const char *const peers[] = {"192.0.2.1", "192.0.2.2:77"};
    struct cf_error error = {.rc = 0};
    struct xp *xp = NULL;
    char text[2048];

    (void)state;
    play();
    options.peers = peers;
    assert_int_equal(xp_open(&options, &xp, &error), CF_OK);
    assert_true(xp_describe(xp, text, sizeof(text)) > 0);
    assert_non_null(strstr(text, "device play0\nport 1\nlink Ethernet\nmtu 4096\ngid 2 ::ffff:192.0.0.7\n"));
    assert_non_null(strstr(text, "address 192.0.2.1:4000\n"));
    assert_int_equal(ntohs(((struct sockaddr_in *)&xp_verbs_of(xp)->peers[1].address)->sin_port), 77);
    assert_true(xp_describe(xp, text, 40) <= 40);
    xp_close(&xp);
    assert_int_equal(played.living, 0);
}

/* Opening takes this device, and says how far it is. */
static void expect_device(const char *address, int numa_node, const char *name, const char *distance)
{
    struct xp_options options = options_of(address);
    struct cf_error error = {.rc = 0};
    struct xp *xp = NULL;
    char text[2048], line[64];

    options.numa_node = numa_node;
    assert_int_equal(xp_open(&options, &xp, &error), CF_OK);
    assert_true(xp_describe(xp, text, sizeof(text)) > 0);
    snprintf(line, sizeof(line), "device %s\n", name);
    if (strstr(text, line) == NULL || strstr(text, distance) == NULL)
        fail_msg("no '%s' or '%s' in:\n%s", line, distance, text);
    xp_close(&xp);
    assert_int_equal(played.living, 0);
}

static void of_several_devices_the_nearest_usable_one_is_taken(void **state)
{
    (void)state;
    play();
    played.count = 3;
    played.nodes[0] = 3;
    played.nodes[1] = 0;
    played.nodes[2] = 2;
    expect_device("verbs:", 3, "play0", "numa_node 3 polled from node 3 at distance 10\n");
    expect_device("verbs:", 0, "play1", "numa_node 0 polled from node 0 at distance 10\n");
    /* Where this thread is: two are equally far, the first of them is taken. */
    expect_device("verbs:", -1, "play1", "numa_node 0 polled from node 1 at distance 21\n");
    played.port_down = 1u << 1;
    expect_device("verbs:", 0, "play2", "numa_node 2 polled from node 0 at distance 32\n");
    expect_device("verbs:play0", 0, "play0", "numa_node 3 polled from node 0 at distance 43\n");
    expect_refused("verbs:play1", CF_SYSTEM, "play1 port 1 is down", "bring its link up");
    played.port_down = 0;
    played.nodes[0] = played.nodes[1] = played.nodes[2] = -1;
    expect_device("verbs:", 0, "play0", "numa_node -1 polled from node 0 at distance -1\n");
}

/* Fewer retries wait longer each, so that a loss is noticed in the same time. */
static void retries_may_be_fewer(void **state)
{
    (void)state;
    play();
    expect_device("verbs:", 0, "play0", "timeout_us 67108\nretries 6\n");
    expect_device("verbs:?retries=1", 0, "play0", "retries 1\n");
}

static void a_limit_of_locked_memory_is_named_with_the_need(void **state)
{
    struct xp_options options = options_of("verbs:");
    struct rlimit before, small;
    struct cf_error error = {.rc = 0};
    struct xp *xp = NULL;
    void *memory;

    (void)state;
    play();
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    small = (struct rlimit){.rlim_cur = 65536, .rlim_max = before.rlim_max};
    assert_int_equal(xp_open(&options, &xp, &error), CF_OK);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &small), 0);
    assert_int_equal(xp_memory(xp, 1 << 20, 0, &memory, &error), CF_MEMORY);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
    assert_non_null(strstr(error.text, "limited to 64 KiB and 1024 KiB are needed"));
    assert_non_null(strstr(error.text, "ulimit -l"));
    xp_close(&xp);
}

static struct xp_verbs_facts facts_of(uint16_t node)
{
    struct xp_verbs_facts facts = {.node = node,
                                   .nodes = 2,
                                   .incarnation = 1,
                                   .epoch = 1,
                                   .tag = 5,
                                   .lane_slots = 16,
                                   .message_bytes = XP_VERBS_MESSAGE_BYTES};

    facts.classes[2] = (struct xp_verbs_wire_class){.bytes = 8192, .count = 4};
    return facts;
}

static void expect_verdict(const struct xp_verbs_facts *peer, enum cf_rc rc)
{
    struct xp_verbs_facts own = facts_of(0);
    struct xp_verbs_verdict verdict;

    xp_verbs_facts_check(&own, peer, 1, &verdict);
    assert_int_equal(verdict.rc, rc);
    assert_int_equal(verdict.rc == CF_OK, verdict.why[0] == 0);
}

static void facts_that_differ_are_named(void **state)
{
    struct xp_verbs_facts peer = facts_of(1);

    (void)state;
    expect_verdict(&peer, CF_OK);
    peer.node = 0;
    expect_verdict(&peer, CF_NODE_TAKEN);
    peer = facts_of(1);
    peer.tag++;
    expect_verdict(&peer, CF_CLUSTER);
    peer = facts_of(1);
    peer.nodes = 3;
    expect_verdict(&peer, CF_OPTION);
    peer = facts_of(1);
    peer.lane_slots = 32;
    expect_verdict(&peer, CF_OPTION);
    peer = facts_of(1);
    peer.epoch = 2;
    expect_verdict(&peer, CF_STALE);
    peer = facts_of(1);
    peer.classes[2].bytes = 16384;
    expect_verdict(&peer, CF_BLOCK_SIZE);
    peer = facts_of(1);
    peer.classes[3] = (struct xp_verbs_wire_class){.bytes = 16384, .count = 4};
    expect_verdict(&peer, CF_BLOCK_SIZE);
    peer = facts_of(1);
    peer.classes[2].count = 0; /* no frames at all: it holds no blocks, and needs none to be a member */
    expect_verdict(&peer, CF_OK);
}

static void a_signature_holds_for_one_key_and_one_challenge(void **state)
{
    uint8_t key[XP_VERBS_KEY_BYTES], other_key[XP_VERBS_KEY_BYTES];
    uint8_t nonce_a[XP_VERBS_NONCE_BYTES] = {1}, nonce_b[XP_VERBS_NONCE_BYTES] = {2};
    struct xp_verbs_open open = {.magic = XP_VERBS_MAGIC, .node = 1, .target = 0, .epoch = 1};
    struct xp_verbs_hello hello = {.facts = facts_of(1)};
    uint32_t tag;

    (void)state;
    xp_shm_key_derive("cluster", "secret", key, &tag);
    xp_shm_key_derive("cluster", "another", other_key, &tag);
    xp_verbs_open_sign(&open, key, NULL);
    assert_true(xp_verbs_open_is_signed(&open, key, NULL));
    assert_false(xp_verbs_open_is_signed(&open, other_key, NULL));
    assert_false(xp_verbs_open_is_signed(&open, key, nonce_a)); /* an OPEN is no REPLY */
    xp_verbs_open_sign(&open, key, nonce_a);
    assert_true(xp_verbs_open_is_signed(&open, key, nonce_a));
    assert_false(xp_verbs_open_is_signed(&open, key, nonce_b)); /* nor a REPLY to another OPEN */
    open.incarnation++;
    assert_false(xp_verbs_open_is_signed(&open, key, nonce_a));

    xp_verbs_hello_sign(&hello, key, nonce_a, nonce_b);
    assert_true(xp_verbs_hello_is_signed(&hello, key, nonce_a, nonce_b));
    assert_false(xp_verbs_hello_is_signed(&hello, key, nonce_b, nonce_a));
    assert_false(xp_verbs_hello_is_signed(&hello, other_key, nonce_a, nonce_b));
    hello.facts.hello[63] ^= 1;
    assert_false(xp_verbs_hello_is_signed(&hello, key, nonce_a, nonce_b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_with_a_device_is_said_with_its_remedy),
        cmocka_unit_test(addresses_that_make_no_sense_are_refused),
        cmocka_unit_test(a_device_that_is_there_is_taken_with_its_address),
        cmocka_unit_test(of_several_devices_the_nearest_usable_one_is_taken),
        cmocka_unit_test(retries_may_be_fewer),
        cmocka_unit_test(a_limit_of_locked_memory_is_named_with_the_need),
        cmocka_unit_test(facts_that_differ_are_named),
        cmocka_unit_test(a_signature_holds_for_one_key_and_one_challenge),
    };

    return cf_hash_init() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
