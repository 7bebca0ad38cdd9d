/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_DIRECTORY_FIXTURE_H
#define TESTS_DIRECTORY_FIXTURE_H

/* What tests of the directory share. */
#include "base/hash.h"
#include "grd/directory.h"

struct cf_block_key directory_key(uint64_t block);
uint64_t directory_hash(uint64_t block);
struct grd_directory *directory_open(uint64_t entries, uint64_t conversations, uint64_t holders,
                                     uint64_t past_images);
/* Checks the directory and closes it. */
void directory_close(struct grd_directory *directory);
struct grd_entry *directory_get(struct grd_directory *directory, uint64_t block);
struct grd_entry *directory_find(struct grd_directory *directory, uint64_t block);
/* Gives the node a new tenure in S, and answers it. */
uint64_t directory_hold(struct grd_directory *directory, struct grd_entry *entry, uint16_t node);

#endif
