/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_WINDOW_H
#define GRD_WINDOW_H

/*
 * Which of an instance's numbered releases are over. The instance numbers them upwards and keeps at most GRD_WINDOW
 * open; the master notes which it has heard, and forgets those below the lowest that the instance still has open. So a
 * doubled or late release is told from one that was never heard, without remembering anything a block [G-15].
 */
#include <stdbool.h>
#include <stdint.h>

#define GRD_WINDOW 1024u

struct grd_window {
    uint64_t low;                   /* every number below is over */
    uint64_t bits[GRD_WINDOW / 64]; /* of low .. low + GRD_WINDOW - 1, by number % GRD_WINDOW */
};

void grd_window_init(struct grd_window *window);
static inline bool grd_window_is_over(const struct grd_window *window, uint64_t number)
{
    return number < window->low || (number - window->low < GRD_WINDOW &&
                                    (window->bits[number % GRD_WINDOW / 64] >> (number % 64) & 1) != 0);
}
/* Numbers beyond the window are not its sender's to give: false, and nothing is noted. */
bool grd_window_end(struct grd_window *window, uint64_t number);
/* The instance: low rises over what has ended. */
void grd_window_slide(struct grd_window *window);
/* The master: the instance has nothing open below `low`. */
void grd_window_raise(struct grd_window *window, uint64_t low);

#endif
