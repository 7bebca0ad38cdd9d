/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_ENGINE_FRAMES_FIXTURE_H
#define TESTS_UNIT_ENGINE_FRAMES_FIXTURE_H

/* Frames with memory of their own, for tests of the cache without a transport. */
#include "engine/frame.h"

struct frames_fixture {
    struct eng_frames *frames;
    uint8_t *base;
    uint64_t base_bytes;
    _Atomic uint64_t *words;
    uint64_t words_bytes;
};

/* `count` frames of one class; aborts when there is no memory. */
void frames_fixture_open(struct frames_fixture *fixture, uint32_t class_index, uint32_t count);
void frames_fixture_close(struct frames_fixture *fixture);
/* Takes a frame of the class, fills it with `fill` and opens it under `key`. */
uint32_t frames_fixture_load(struct frames_fixture *fixture, uint32_t class_index,
                             const struct cf_block_key *key, enum cf_mode mode, uint8_t fill);

#endif
