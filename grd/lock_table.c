/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/lock_table.h"

#include "base/assert.h"

#define BIT(mode) (1u << GRD_LOCK_##mode)

/* clang-format off */
const uint8_t grd_lock_conflicts[GRD_LOCK_MODES] = {
    [GRD_LOCK_NL] = 0,
    [GRD_LOCK_CR] = BIT(EX),
    [GRD_LOCK_CW] = BIT(PR) | BIT(PW) | BIT(EX),
    [GRD_LOCK_PR] = BIT(CW) | BIT(PW) | BIT(EX),
    [GRD_LOCK_PW] = BIT(CW) | BIT(PR) | BIT(PW) | BIT(EX),
    [GRD_LOCK_EX] = BIT(CR) | BIT(CW) | BIT(PR) | BIT(PW) | BIT(EX),
};

const uint8_t grd_lock_covered[GRD_LOCK_MODES] = {
    [GRD_LOCK_NL] = BIT(NL),
    [GRD_LOCK_CR] = BIT(NL) | BIT(CR),
    [GRD_LOCK_CW] = BIT(NL) | BIT(CR) | BIT(CW),
    [GRD_LOCK_PR] = BIT(NL) | BIT(CR) | BIT(PR),
    [GRD_LOCK_PW] = BIT(NL) | BIT(CR) | BIT(CW) | BIT(PR) | BIT(PW),
    [GRD_LOCK_EX] = BIT(NL) | BIT(CR) | BIT(CW) | BIT(PR) | BIT(PW) | BIT(EX),
};

#define N GRD_LOCK_KEEP
#define R GRD_LOCK_READ_VALUE
#define W GRD_LOCK_WRITE_VALUE
/* Rows: held before; columns: held after. */
static const uint8_t moves[GRD_LOCK_MODES + 1][GRD_LOCK_MODES] = {
                         /* NL CR CW PR PW EX */
    [GRD_LOCK_ROW_NEW] = { R, R, R, R, R, R },
    [GRD_LOCK_NL]      = { R, R, R, R, R, R },
    [GRD_LOCK_CR]      = { N, R, R, R, R, R },
    [GRD_LOCK_CW]      = { N, N, R, R, R, R },
    [GRD_LOCK_PR]      = { N, N, N, R, R, R },
    [GRD_LOCK_PW]      = { W, W, W, W, W, R },
    [GRD_LOCK_EX]      = { W, W, W, W, W, W },
};
#undef N
#undef R
#undef W

/* CW and PR are covered by neither of each other; every other pair is a chain. */
static const uint8_t joins[GRD_LOCK_MODES][GRD_LOCK_MODES] = {
    [GRD_LOCK_NL] = { GRD_LOCK_NL, GRD_LOCK_CR, GRD_LOCK_CW, GRD_LOCK_PR, GRD_LOCK_PW, GRD_LOCK_EX },
    [GRD_LOCK_CR] = { GRD_LOCK_CR, GRD_LOCK_CR, GRD_LOCK_CW, GRD_LOCK_PR, GRD_LOCK_PW, GRD_LOCK_EX },
    [GRD_LOCK_CW] = { GRD_LOCK_CW, GRD_LOCK_CW, GRD_LOCK_CW, GRD_LOCK_PW, GRD_LOCK_PW, GRD_LOCK_EX },
    [GRD_LOCK_PR] = { GRD_LOCK_PR, GRD_LOCK_PR, GRD_LOCK_PW, GRD_LOCK_PR, GRD_LOCK_PW, GRD_LOCK_EX },
    [GRD_LOCK_PW] = { GRD_LOCK_PW, GRD_LOCK_PW, GRD_LOCK_PW, GRD_LOCK_PW, GRD_LOCK_PW, GRD_LOCK_EX },
    [GRD_LOCK_EX] = { GRD_LOCK_EX, GRD_LOCK_EX, GRD_LOCK_EX, GRD_LOCK_EX, GRD_LOCK_EX, GRD_LOCK_EX },
};
/* clang-format on */

const char *grd_lock_mode_name(uint8_t mode)
{
    static const char names[GRD_LOCK_MODES][3] = {"NL", "CR", "CW", "PR", "PW", "EX"};

    return mode < GRD_LOCK_MODES ? names[mode] : "?";
}

enum grd_lock_move grd_lock_value_move(uint8_t from, uint8_t to)
{
    cf_assert(from <= GRD_LOCK_ROW_NEW);
    cf_assert(to < GRD_LOCK_MODES);
    return (enum grd_lock_move)moves[from][to];
}

uint8_t grd_lock_join(uint8_t a, uint8_t b)
{
    return joins[a][b];
}

uint8_t grd_lock_lowered(uint8_t mode, uint8_t wanted)
{
    for (uint8_t lower = mode; lower > GRD_LOCK_NL; lower--)
        if (grd_lock_covers(mode, lower) && grd_lock_compatible(lower, wanted))
            return lower;
    return GRD_LOCK_NL;
}
