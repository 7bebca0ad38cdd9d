/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/window.h"

#include <string.h>

void grd_window_init(struct grd_window *window)
{
    memset(window, 0, sizeof *window);
    window->low = 1;
}

static void bit_clear(struct grd_window *window, uint64_t number)
{
    window->bits[number % GRD_WINDOW / 64] &= ~(UINT64_C(1) << (number % 64));
}

bool grd_window_end(struct grd_window *window, uint64_t number)
{
    if (number < window->low)
        return true;
    if (number - window->low >= GRD_WINDOW)
        return false;
    window->bits[number % GRD_WINDOW / 64] |= UINT64_C(1) << (number % 64);
    return true;
}

void grd_window_slide(struct grd_window *window)
{
    while (window->bits[window->low % GRD_WINDOW / 64] >> (window->low % 64) & 1)
        bit_clear(window, window->low++);
}

void grd_window_raise(struct grd_window *window, uint64_t low)
{
    if (low <= window->low)
        return;
    if (low - window->low >= GRD_WINDOW)
        memset(window->bits, 0, sizeof window->bits);
    else
        for (; window->low < low; window->low++)
            bit_clear(window, window->low);
    window->low = low;
}
