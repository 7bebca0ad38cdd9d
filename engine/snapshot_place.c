/* SPDX-License-Identifier: Apache-2.0 */
/* Places of blocks in other caches: a table of rows of two, the least favoured of which goes. */
#include <string.h>

#include "engine/snapshot.h"

static struct eng_place *row_of(struct eng_snapshots *snapshots, uint64_t hash)
{
    return &snapshots->places[(hash ^ hash >> 32) & (ENG_PLACES - 1) & ~1ull];
}

struct eng_place *eng_place_find(struct eng_snapshots *snapshots, const struct cf_block_key *key,
                                 uint64_t hash)
{
    struct eng_place *row = row_of(snapshots, hash);

    for (uint32_t i = 0; i < 2; i++)
        if (row[i].in_use && grd_key_equal(&row[i].key, key))
            return &row[i];
    return NULL;
}

struct eng_place *eng_place_make(struct eng_snapshots *snapshots, const struct cf_block_key *key,
                                 uint64_t hash)
{
    struct eng_place *row = row_of(snapshots, hash), *place = eng_place_find(snapshots, key, hash);

    if (place != NULL)
        return place;
    place = !row[0].in_use || (row[1].in_use && row[0].favour <= row[1].favour) ? &row[0] : &row[1];
    if (!place->in_use)
        snapshots->places_used++;
    *place = (struct eng_place){
        .key = *key, .node = CF_NODE_NONE, .favour = ENG_PLACE_FAVOUR_NEW, .in_use = true};
    return place;
}

bool eng_place_is_due(struct eng_place *place)
{
    if (place->rests == 0)
        return true;
    place->rests--;
    return false;
}

void eng_place_failed(struct eng_place *place, uint64_t word)
{
    if (place->node == CF_NODE_NONE || place->word != word)
        return; /* another snapshot has found that out, or a newer place is known */
    place->node = CF_NODE_NONE;
    place->favour = place->favour > 2 ? place->favour - 2 : 0;
    if (place->favour == 0) {
        place->favour = ENG_PLACE_FAVOUR_NEW / 2;
        place->rests = ENG_PLACE_RESTS;
    }
}

void eng_place_proved(struct eng_place *place)
{
    if (place->favour < ENG_PLACE_FAVOUR_MAX)
        place->favour++;
}
