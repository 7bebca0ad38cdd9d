/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STATUS_H
#define ENGINE_STATUS_H

/* The state of an instance as JSON: what is looked at, the text, and the socket that tells it. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

/* Conversations and waiters listed at most; the counts tell how many there are. Blocks listed as hot. */
#define ENG_STATUS_LIST_MAX 256u
#define ENG_STATUS_HOT_MAX 20u

struct eng_status_conv {
    struct cf_block_key key;
    uint8_t wants;
    bool is_granted;
    uint16_t master;
    uint32_t need, acks;
    uint64_t for_ns;
};

struct eng_status_waiter {
    struct cf_block_key key;
    uint8_t mode;
    uint64_t for_ns;
};

struct eng_status_shot {
    uint64_t now_ns, modes[3], past_images, kept, releases, demands;
    uint32_t convs_count, waiters_count, convs_total, waiters_total;
    struct eng_status_conv convs[ENG_STATUS_LIST_MAX];
    struct eng_status_waiter waiters[ENG_STATUS_LIST_MAX];
    struct {
        uint32_t bytes, total, free, dirty;
    } classes[CF_BLOCK_SIZES];
    bool up[CF_NODES_MAX];
};

/* status_shot.c: one moment. Owner of progress; `arg` is a struct eng_status_shot of zeroes. */
void eng_status_shot_take(struct cf_instance *instance, void *arg, uint64_t now_ns);

struct cf_json_build;
/* status_hot.c: hottest first. Any thread. */
json_t *eng_status_hot(struct cf_json_build *build, const struct cf_instance *instance, uint64_t now_ns);

/* status_server.c. Serves until eng_status_stop, which may be called without a start. */
enum cf_rc eng_status_start(struct cf_instance *instance, struct cf_error *error);
void eng_status_stop(struct cf_instance *instance);

#endif
