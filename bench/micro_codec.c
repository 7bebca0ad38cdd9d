/* SPDX-License-Identifier: Apache-2.0 */
/* Question: what do encoding and decoding of a message cost, and how does that grow with a grant's set? */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "bench/harness.h"
#include "grd/msg.h"

struct codec {
    struct grd_msg msg, out;
    uint8_t body[GRD_MSG_BYTES_MAX];
    uint32_t bytes;
};

static struct codec *codec_open(uint16_t type, uint64_t members)
{
    struct codec *codec = calloc(1, sizeof *codec);

    cf_assert(codec != NULL);
    codec->msg = (struct grd_msg){
        .type = type, .requester = 3, .mode = CF_MODE_X, .how = GRD_HOW_DISK, .hops = 3};
    codec->msg.key = (struct cf_block_key){.file = 7, .generation = 1, .block = 4711};
    codec->msg.request = 12345;
    codec->msg.tenure = 678;
    grd_set_clear(&codec->msg.set);
    for (uint64_t i = 0; i < members; i++)
        grd_set_add(&codec->msg.set, (uint16_t)i);
    codec->bytes = grd_msg_encode(&codec->msg, codec->body);
    return codec;
}

static void *open_request(uint64_t arg, uint32_t threads)
{
    (void)threads;
    return codec_open(GRD_MSG_REQUEST, arg);
}

static void *open_grant(uint64_t arg, uint32_t threads)
{
    (void)threads;
    return codec_open(GRD_MSG_GRANT, arg);
}

static void *open_ship(uint64_t arg, uint32_t threads)
{
    (void)threads;
    return codec_open(GRD_MSG_SHIP, arg);
}

static void encode(void *state, uint32_t thread, uint64_t iterations)
{
    struct codec *codec = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        codec->msg.request = i;
        bench_use(grd_msg_encode(&codec->msg, codec->body));
    }
}

static void decode(void *state, uint32_t thread, uint64_t iterations)
{
    struct codec *codec = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        bool ok = grd_msg_decode(codec->msg.type, codec->body, codec->bytes, CF_NODES_MAX, &codec->out);

        cf_assert(ok);
        bench_use(codec->out.request);
    }
}

static const struct bench_case cases[] = {
    {.name = "encode/request", .open = open_request, .run = encode, .close = free},
    {.name = "decode/request", .open = open_request, .run = decode, .close = free},
    {.name = "encode/grant",
     .open = open_grant,
     .run = encode,
     .close = free,
     .args = {0, 3, 12, 13, 1000},
     .args_count = 5},
    {.name = "decode/grant",
     .open = open_grant,
     .run = decode,
     .close = free,
     .args = {0, 3, 12, 13, 1000},
     .args_count = 5},
    {.name = "encode/ship", .open = open_ship, .run = encode, .close = free},
    {.name = "decode/ship", .open = open_ship, .run = decode, .close = free},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
