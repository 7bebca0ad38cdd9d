/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replacement by second chance: a hand a class goes round; a frame used since it last passed loses its ref
 * bit and stays, one that was not is offered. Two turns are enough to meet every frame after its ref bit
 * is gone.
 */
#include "engine/pool.h"

#define ENG_SWEEP_TURNS_MAX 2u

uint32_t eng_frame_victim_owner(struct eng_frames *frames, uint32_t class_index,
                                bool (*accept)(void *arg, uint32_t frame), void *arg)
{
    struct eng_frame_class *class;
    uint64_t steps_max;

    cf_assert(class_index < CF_BLOCK_SIZES);
    class = &frames->classes[class_index];
    steps_max = (uint64_t) class->count * ENG_SWEEP_TURNS_MAX;
    for (uint64_t step = 0; step < steps_max; step++) {
        uint32_t frame = class->first + class->hand;
        uint64_t word = cf_peek_u64(&frames->words[frame]);

        class->hand = class->hand + 1 < class->count ? class->hand + 1 : 0;
        if ((word & ENG_WORD_MODE) == CF_MODE_N ||
            (word & (ENG_WORD_EXCL | ENG_WORD_CLOSING | ENG_WORD_WAITER | ENG_WORD_PINS)))
            continue;
        if (word & ENG_WORD_REF) {
            /* Orders nothing: a hint. */
            (void)atomic_fetch_and_explicit(&frames->words[frame], ~ENG_WORD_REF, memory_order_relaxed);
            continue;
        }
        if (accept == NULL || accept(arg, frame))
            return frame;
    }
    return ENG_FRAME_NONE;
}
