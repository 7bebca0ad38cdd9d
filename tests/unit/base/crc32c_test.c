/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: published vectors, continuation over pieces, bytes at every alignment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/rng.h"

static uint32_t bitwise(const unsigned char *bytes, size_t count)
{
    uint32_t crc = ~UINT32_C(0);

    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

/* "123456789" is the usual check value, the others are RFC 3720 B.4. */
static void gives_the_published_vectors(void **state)
{
    unsigned char bytes[32];

    (void)state;
    assert_int_equal(cf_crc32c(0, "123456789", 9), 0xE3069283);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(cf_crc32c(0, bytes, sizeof(bytes)), 0x8A9136AA);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(cf_crc32c(0, bytes, sizeof(bytes)), 0x62A8AB43);
    for (unsigned char i = 0; i < sizeof(bytes); i++)
        bytes[i] = i;
    assert_int_equal(cf_crc32c(0, bytes, sizeof(bytes)), 0x46DD794E);
    assert_int_equal(cf_crc32c(0, "", 0), 0);
}

static void agrees_with_the_definition_at_any_length_and_alignment(void **state)
{
    unsigned char bytes[4200];
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 3);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)cf_rng_next(&rng);
    /* Short ones go another way than long ones: each length of both sides of the border. */
    for (size_t count = 0; count < 800; count++)
        assert_int_equal(cf_crc32c(0, bytes + count % 9, count), bitwise(bytes + count % 9, count));
    for (int i = 0; i < 500; i++) {
        size_t start = cf_rng_below(&rng, 64), count = cf_rng_below(&rng, sizeof(bytes) - 64);
        assert_int_equal(cf_crc32c(0, bytes + start, count), bitwise(bytes + start, count));
    }
}

static void pieces_give_what_the_whole_gives(void **state)
{
    const char *text = "the quick brown fox jumps over the lazy dog";
    size_t length = strlen(text);

    (void)state;
    for (size_t cut = 0; cut <= length; cut++)
        assert_int_equal(cf_crc32c(cf_crc32c(0, text, cut), text + cut, length - cut),
                         cf_crc32c(0, text, length));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_published_vectors),
        cmocka_unit_test(agrees_with_the_definition_at_any_length_and_alignment),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
