/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/content.h"

#include <string.h>

#include "base/hash.h"

#define HEAD_WORDS 6u
#define MAGIC UINT64_C(0x73696d20626c6f63)

static uint64_t head_word(const struct sim_content *content, uint32_t index)
{
    switch (index) {
    case 0:
        return MAGIC ^ content->block;
    case 1:
        return content->counter;
    case 2:
        return content->value;
    case 3:
        return content->replaced;
    case 4:
        return (uint64_t)content->balance;
    default:
        return cf_mix64(content->counter ^ content->replaced, content->value ^ (uint64_t)content->balance);
    }
}

static uint64_t word_at(const struct sim_content *content, uint32_t index)
{
    return index < HEAD_WORDS ? head_word(content, index)
                              : content->value * UINT64_C(0x9e3779b97f4a7c15) + index + content->block;
}

void sim_content_write(const struct sim_content *content, void *data, uint32_t bytes, bool half)
{
    uint64_t *words = data;
    uint32_t count = bytes / 8 / (half ? 2 : 1);

    for (uint32_t i = 0; i < count; i++)
        words[i] = word_at(content, i);
}

static bool is_zero(const uint64_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (words[i] != 0)
            return false;
    }
    return true;
}

bool sim_content_read(const void *data, uint32_t bytes, uint64_t block, struct sim_content *content_out)
{
    const uint64_t *words = data;
    struct sim_content content = {.block = block,
                                  .counter = words[1],
                                  .value = words[2],
                                  .replaced = words[3],
                                  .balance = (int64_t)words[4]};

    if (words[0] == 0 && is_zero(words, bytes / 8)) {
        *content_out = (struct sim_content){.block = block};
        return true;
    }
    for (uint32_t i = 0; i < bytes / 8; i++) {
        if (words[i] != word_at(&content, i))
            return false;
    }
    *content_out = content;
    return true;
}
