/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/frames_fixture.h"

#include <string.h>

#include "base/assert.h"

#define FIXTURE_SEED UINT64_C(0x51)

void frames_fixture_open(struct frames_fixture *fixture, uint32_t class_index, uint32_t count)
{
    const struct cf_allocator *allocator = cf_allocator_default();
    struct eng_frames_options options = {.allocator = allocator, .seed = FIXTURE_SEED};
    enum cf_rc rc;

    options.count[class_index] = count;
    fixture->base_bytes = eng_frames_bytes(options.count);
    fixture->words_bytes = count * sizeof(uint64_t);
    fixture->base = cf_alloc(allocator, fixture->base_bytes, 4096, CF_ALLOC_ZERO);
    fixture->words = cf_alloc(allocator, fixture->words_bytes, CF_CACHE_LINE, CF_ALLOC_ZERO);
    cf_assert(fixture->base != NULL);
    cf_assert(fixture->words != NULL);
    options.base = fixture->base;
    options.words = fixture->words;
    rc = eng_frames_open(&options, &fixture->frames);
    cf_assert(rc == CF_OK);
}

void frames_fixture_close(struct frames_fixture *fixture)
{
    eng_frames_close(&fixture->frames);
    cf_free(cf_allocator_default(), (void *)fixture->words, fixture->words_bytes);
    cf_free(cf_allocator_default(), fixture->base, fixture->base_bytes);
}

uint32_t frames_fixture_load(struct frames_fixture *fixture, uint32_t class_index,
                             const struct cf_block_key *key, enum cf_mode mode, uint8_t fill)
{
    uint32_t frame = eng_frame_take_owner(fixture->frames, class_index);

    cf_assert(frame != ENG_FRAME_NONE);
    memset(eng_frames_data(fixture->frames, frame), fill, eng_frames_at(fixture->frames, frame)->bytes);
    eng_frame_open_owner(fixture->frames, frame, key, mode, false);
    return frame;
}
