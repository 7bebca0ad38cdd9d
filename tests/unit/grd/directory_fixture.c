/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grd/directory_fixture.h"

#include "base/assert.h"

struct cf_block_key directory_key(uint64_t block)
{
    return (struct cf_block_key){.file = 7, .generation = 1, .block = block};
}

uint64_t directory_hash(uint64_t block)
{
    return cf_mix64(block, UINT64_C(0x9e3779b97f4a7c15));
}

struct grd_directory *directory_open(uint64_t entries, uint64_t conversations, uint64_t holders,
                                     uint64_t past_images)
{
    struct grd_directory_options options = {.entries = entries,
                                            .conversations = conversations,
                                            .holders = holders,
                                            .past_images = past_images,
                                            .buckets = 16,
                                            .seed = 0x51,
                                            .allocator = cf_allocator_default()};
    struct grd_directory *directory;
    enum cf_rc rc = grd_directory_open(&options, &directory);

    cf_assert(rc == CF_OK);
    return directory;
}

void directory_close(struct grd_directory *directory)
{
    grd_directory_check(directory);
    grd_directory_close(&directory);
}

struct grd_entry *directory_get(struct grd_directory *directory, uint64_t block)
{
    struct cf_block_key key = directory_key(block);
    uint64_t hash = directory_hash(block);

    return grd_entry_get(directory, &key, hash, hash % 16);
}

struct grd_entry *directory_find(struct grd_directory *directory, uint64_t block)
{
    struct cf_block_key key = directory_key(block);

    return grd_entry_find(directory, &key, directory_hash(block));
}

uint64_t directory_hold(struct grd_directory *directory, struct grd_entry *entry, uint16_t node)
{
    struct grd_holder holder = {.node = node, .tenure = grd_entry_tenure(directory, entry)};

    grd_holder_set(directory, entry, &holder);
    return holder.tenure;
}
