/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: every message type there and back with random contents; lengths, enumerations and sets that are not
 * allowed. Not here: the header around the body (transport), what a message does (master, local).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "grd/action.h"
#include "tests/unit/grd/msg_fixture.h"
#include "transport/xp.h"

#define ROUNDS 200u
#define TRAIL_BYTES 9u

static const uint16_t types[] = {
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) number,
#include "grd/msg.def"
#undef GRD_MSG
};
#define TYPES (sizeof types / sizeof types[0])
static const uint32_t set_counts[] = {0, 1, GRD_SET_LIST, GRD_SET_LIST + 1, 1000};

/* Exact size, so that a reader or writer that goes one byte too far meets the sanitizer. */
static uint8_t *encoded(const struct grd_msg *msg, uint32_t *bytes_out)
{
    uint32_t bytes = grd_msg_bytes(msg);
    uint8_t *body = malloc(bytes);

    assert_non_null(body);
    assert_int_equal(grd_msg_encode(msg, body), bytes);
    *bytes_out = bytes;
    return body;
}

static bool decodes(uint16_t type, const uint8_t *body, uint32_t bytes, uint32_t nodes)
{
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    struct grd_msg out;
    bool ok;

    assert_non_null(exact);
    memcpy(exact, body, bytes);
    ok = grd_msg_decode(type, exact, bytes, nodes, &out);
    free(exact);
    return ok;
}

/* Does the message, as it stands, pass the way through the wire? */
static bool passes(const struct grd_msg *msg, uint32_t nodes)
{
    uint32_t bytes;
    uint8_t *body = encoded(msg, &bytes);
    bool ok = decodes(msg->type, body, bytes, nodes);

    free(body);
    return ok;
}

static void round_trip(const struct grd_msg *msg)
{
    uint32_t bytes;
    uint8_t *body = encoded(msg, &bytes), longer[GRD_MSG_BYTES_MAX + TRAIL_BYTES] = {0};
    struct grd_msg out;

    assert_true(bytes <= GRD_MSG_BYTES_MAX);
    assert_true(bytes <= XP_BODY_BYTES_MAX);
    memset(&out, 0xa5, sizeof out);
    if (msg->type == GRD_MSG_MOVE_ORDER || msg->type == GRD_MSG_MOVE_REPORT) { /* never on a wire */
        assert_false(grd_msg_decode(msg->type, body, bytes, CF_NODES_MAX, &out));
        free(body);
        return;
    }
    assert_true(grd_msg_decode(msg->type, body, bytes, CF_NODES_MAX, &out));
    msg_assert_equal(msg, &out);
    for (uint32_t less = 0; less < bytes; less++)
        assert_false(decodes(msg->type, body, less, CF_NODES_MAX));
    memcpy(longer, body, bytes);
    for (uint32_t more = 1; more <= TRAIL_BYTES; more++)
        assert_false(decodes(msg->type, longer, bytes + more, CF_NODES_MAX));
    free(body);
}

static void every_type_comes_back_and_no_other_length_does(void **state)
{
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 1);
    for (size_t t = 0; t < TYPES; t++) {
        for (uint32_t i = 0; i < ROUNDS; i++) {
            struct grd_msg msg;

            msg_random(&rng, types[t], CF_NODES_MAX, set_counts[i % 5], &msg);
            round_trip(&msg);
        }
    }
}

static void the_largest_message_fits(void **state)
{
    struct cf_rng rng;
    struct grd_msg msg;

    (void)state;
    cf_rng_seed(&rng, 2);
    for (size_t t = 0; t < TYPES; t++) {
        msg_random(&rng, types[t], CF_NODES_MAX, CF_NODES_MAX, &msg);
        assert_true(grd_msg_bytes(&msg) <= GRD_MSG_BYTES_MAX);
        round_trip(&msg);
    }
    assert_true(GRD_MSG_BYTES_MAX <= XP_BODY_BYTES_MAX);
}

static void an_entry_that_moves_has_holders_that_agree(void **state)
{
    struct grd_msg msg = {.type = GRD_MSG_MOVE_ENTRY, .how = GRD_MOVE_ENTRY, .tenure = 9, .place = 1};

    (void)state;
    msg.words.count = 2;
    msg.words.word[0] = UINT64_C(9) << GRD_MOVE_SHIFT | GRD_MOVE_DUTY | 1;
    msg.words.word[1] = UINT64_C(8) << GRD_MOVE_SHIFT | 2;
    assert_true(passes(&msg, 3));
    assert_false(passes(&msg, 2)); /* no such instance */
    msg.words.word[1] |= GRD_MOVE_DUTY;
    assert_false(passes(&msg, 3)); /* two have the duty */
    msg.words.word[1] ^= GRD_MOVE_DUTY | GRD_MOVE_X;
    assert_false(passes(&msg, 3)); /* X beside S */
    msg.words.word[1] ^= GRD_MOVE_X | GRD_MOVE_PAST;
    assert_true(passes(&msg, 3));
    msg.words.word[0] |= GRD_MOVE_X;
    assert_true(passes(&msg, 3)); /* X beside a past image */
    msg.tenure = 8;
    assert_false(passes(&msg, 3)); /* a holder ahead of its entry */
    msg.tenure = 9;
    msg.words.word[1] |= GRD_MOVE_X;
    assert_false(passes(&msg, 3)); /* a past image is held in no mode */
    msg.words.word[1] = 0x8000u | UINT64_C(8) << GRD_MOVE_SHIFT;
    assert_false(passes(&msg, 3)); /* a bit that means nothing */
    msg.words.count = 1;
    msg.how = GRD_MOVE_NONE;
    assert_false(passes(&msg, 3)); /* nobody holds it, and somebody is named */
}

static void fields_that_a_type_does_not_carry_are_left_alone(void **state)
{
    struct grd_msg msg, out;
    struct cf_rng rng;
    uint32_t bytes;
    uint8_t *body;

    (void)state;
    cf_rng_seed(&rng, 3);
    msg_random(&rng, GRD_MSG_RELEASED, CF_NODES_MAX, 0, &msg);
    body = encoded(&msg, &bytes);
    memset(&out, 0x5a, sizeof out);
    assert_true(grd_msg_decode(GRD_MSG_RELEASED, body, bytes, CF_NODES_MAX, &out));
    assert_int_equal(out.from, 0x5a5a);
    assert_int_equal(out.request, UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(out.scn, UINT64_C(0x5a5a5a5a5a5a5a5a));
    free(body);
}

static void types_that_do_not_exist_are_refused(void **state)
{
    uint8_t body[GRD_MSG_BYTES_MAX] = {0};

    (void)state;
    for (uint32_t type = 0; type <= UINT16_MAX; type++) {
        bool exists = false;
        struct grd_msg out;

        for (size_t t = 0; t < TYPES; t++)
            exists = exists || types[t] == type;
        assert_int_equal(strcmp(grd_msg_name((uint16_t)type), "?") != 0, exists);
        if (!exists) {
            assert_false(grd_msg_decode((uint16_t)type, body, 0, CF_NODES_MAX, &out));
            assert_false(grd_msg_decode((uint16_t)type, body, sizeof body, CF_NODES_MAX, &out));
        }
        assert_true(!exists || type < GRD_MSG_MAX);
    }
}

/* A value of one byte against what is allowed, everything else being right. */
#define ONLY(msg, member, allowed)                                        \
    do {                                                                  \
        struct grd_msg varied = *(msg);                                   \
        for (uint32_t value = 0; value <= UINT8_MAX; value++) {           \
            varied.member = (uint8_t)value;                               \
            assert_int_equal(passes(&varied, CF_NODES_MAX), !!(allowed)); \
        }                                                                 \
    } while (0)

static void modes_are_s_or_x(void **state)
{
    static const uint16_t with_mode[] = {GRD_MSG_REQUEST, GRD_MSG_GRANT, GRD_MSG_FORWARD, GRD_MSG_SHIP};
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 4);
    for (size_t t = 0; t < sizeof with_mode / sizeof with_mode[0]; t++) {
        struct grd_msg msg;

        msg_random(&rng, with_mode[t], CF_NODES_MAX, 0, &msg);
        msg.how = GRD_HOW_DISK;
        ONLY(&msg, mode, value == CF_MODE_S || value == CF_MODE_X);
    }
}

static void other_enumerations_end_where_they_end(void **state)
{
    struct grd_msg msg;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 5);
    msg_random(&rng, GRD_MSG_REQUEST, CF_NODES_MAX, 0, &msg);
    ONLY(&msg, flags, value <= (GRD_FLAG_NEW | GRD_FLAG_REFUSED));
    msg_random(&rng, GRD_MSG_GRANT, CF_NODES_MAX, 0, &msg);
    msg.mode = CF_MODE_X;
    ONLY(&msg, how, value == GRD_HOW_DISK || value == GRD_HOW_UPGRADE || value == GRD_HOW_NEW);
    msg.mode = CF_MODE_S;
    ONLY(&msg, how, value == GRD_HOW_DISK);
    msg_random(&rng, GRD_MSG_SHIP, CF_NODES_MAX, 0, &msg);
    ONLY(&msg, flags, value == 0 || value == GRD_FLAG_CHECKED);
    ONLY(&msg, hops, value == 2 || value == 3);
}

static void a_share_is_granted_with_nobody_to_wait_for(void **state)
{
    static const uint16_t with_set[] = {GRD_MSG_GRANT, GRD_MSG_FORWARD, GRD_MSG_SHIP};
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 6);
    for (size_t t = 0; t < sizeof with_set / sizeof with_set[0]; t++) {
        for (size_t c = 0; c < 5; c++) {
            struct grd_msg msg;

            msg_random(&rng, with_set[t], CF_NODES_MAX, set_counts[c], &msg);
            msg.how = GRD_HOW_DISK;
            msg.mode = CF_MODE_X;
            assert_true(passes(&msg, CF_NODES_MAX));
            msg.mode = CF_MODE_S;
            assert_int_equal(passes(&msg, CF_NODES_MAX), set_counts[c] == 0);
        }
    }
}

static void a_node_beyond_the_view_is_refused(void **state)
{
    static const uint16_t with_node[] = {GRD_MSG_FORWARD, GRD_MSG_INVALIDATE, GRD_MSG_NOT_HELD, GRD_MSG_KEPT};
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 7);
    for (size_t t = 0; t < sizeof with_node / sizeof with_node[0]; t++) {
        static const uint16_t nodes[] = {0, 1, 4, 5, 6, 1023, 1024, UINT16_MAX};

        for (size_t n = 0; n < sizeof nodes / sizeof nodes[0]; n++) {
            struct grd_msg msg;

            msg_random(&rng, with_node[t], 5, 0, &msg);
            msg.requester = nodes[n];
            assert_int_equal(passes(&msg, 5), nodes[n] < 5);
        }
    }
}

static void what_goes_to_and_from_the_detector_is_checked(void **state)
{
    struct grd_msg msg;
    struct cf_rng rng;
    uint8_t body[GRD_MSG_BYTES_MAX];
    uint32_t bytes;

    (void)state;
    cf_rng_seed(&rng, 10);
    msg_random(&rng, GRD_MSG_DETECT_ASK, CF_NODES_MAX, 0, &msg);
    /* LAST or not, SINCE or not, and MORE with SINCE; or WAITS alone. */
    ONLY(&msg, flags,
         value == GRD_FLAG_WAITS || (value & ~GRD_FLAG_LAST) == 0 ||
             (value & ~GRD_FLAG_LAST) == GRD_FLAG_SINCE ||
             (value & ~GRD_FLAG_LAST) == (GRD_FLAG_SINCE | GRD_FLAG_MORE));
    msg_random(&rng, GRD_MSG_DETECT_REPORT, CF_NODES_MAX, 0, &msg);
    ONLY(&msg, flags,
         value <= GRD_FLAG_LAST || value == GRD_FLAG_TAKEN || value == (GRD_FLAG_LAST | GRD_FLAG_UNKNOWN));
    msg.hops = 3;
    ONLY(&msg, how, value < 3);
    msg_random(&rng, GRD_MSG_DETECT_VICTIM, CF_NODES_MAX, 0, &msg);
    ONLY(&msg, flags, value <= GRD_FLAG_LAST);
    msg_random(&rng, GRD_MSG_DETECT_TOLD, CF_NODES_MAX, 0, &msg);
    ONLY(&msg, how, value <= GRD_DETECT_GONE);
    /* Words: as many as the count says, and no more than there may be. */
    msg_random(&rng, GRD_MSG_DETECT_ASK, CF_NODES_MAX, 0, &msg);
    memset(&msg.words, 0, sizeof msg.words);
    bytes = grd_msg_encode(&msg, body);
    memset(body + bytes, 0, sizeof body - bytes);
    for (uint32_t count = 0; count <= GRD_WORDS_MAX + 2; count++) {
        body[bytes - 1] = (uint8_t)count;
        assert_int_equal(decodes(GRD_MSG_DETECT_ASK, body, bytes + count * 8, CF_NODES_MAX),
                         count <= GRD_WORDS_MAX);
    }
}

/* An action has the memory of one before it: of a report to the detector, whose words are where a name is. */
static void a_lock_message_without_a_name_has_none_whatever_was_in_its_place(void **state)
{
    struct grd_actions *actions = malloc(sizeof *actions);
    struct cf_block_key key = {.block = 1};
    struct grd_msg *msg, copy;

    (void)state;
    assert_non_null(actions);
    for (uint16_t type = GRD_MSG_LOCK_REQUEST; type <= GRD_MSG_LOCK_VALUE; type++) {
        memset(&actions->item[0], 0xc2, sizeof actions->item[0]);
        actions->count = 0;
        msg = grd_action_send(actions, 0, (enum grd_msg_type)type, &key);
        grd_msg_copy(&copy, msg);
        assert_int_equal(copy.name.kind, GRD_LOCK_NAME_NONE);
        assert_int_equal(copy.name.bytes_count, 0);
        assert_int_equal(copy.value.count, 0);
    }
    free(actions);
}

static void a_copy_has_what_the_type_carries(void **state)
{
    struct grd_msg msg, copy;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 11);
    for (size_t t = 0; t < TYPES; t++)
        for (uint32_t i = 0; i < ROUNDS; i++) {
            msg_random(&rng, types[t], CF_NODES_MAX, set_counts[i % 5], &msg);
            if (types[t] < GRD_MSG_LOCK_REQUEST && types[t] != GRD_MSG_GRANT && types[t] != GRD_MSG_FORWARD &&
                types[t] != GRD_MSG_SHIP)
                grd_set_clear(&msg.set);
            else if (types[t] >= GRD_MSG_LOCK_REQUEST && types[t] <= GRD_MSG_LOCK_VALUE) {
                msg.value.count = msg.value.count > GRD_LOCK_VALUE_BYTES ? 0 : msg.value.count;
                msg.name.bytes_count = msg.name.bytes_count > GRD_LOCK_NAME_BYTES ? 0 : msg.name.bytes_count;
            }
            memset(&copy, 0xee, sizeof copy);
            grd_msg_copy(&copy, &msg);
            msg_assert_equal(&msg, &copy);
        }
}

/* The body of an X grant whose set is given byte by byte behind the other fields. */
static bool grant_with_set(const uint8_t *set, uint32_t set_bytes, uint32_t nodes)
{
    struct grd_msg msg;
    struct cf_rng rng;
    uint8_t body[512];
    uint32_t head;

    cf_rng_seed(&rng, 8);
    msg_random(&rng, GRD_MSG_GRANT, nodes, 0, &msg);
    msg.mode = CF_MODE_X;
    msg.how = GRD_HOW_DISK;
    head = grd_msg_encode(&msg, body) - 3;
    assert_true(head + set_bytes <= sizeof body);
    memcpy(body + head, set, set_bytes);
    return decodes(GRD_MSG_GRANT, body, head + set_bytes, nodes);
}

static void lists_rise_strictly_within_the_view(void **state)
{
    static const uint8_t good[] = {2, 0, 0, 3, 0, 4, 0}, twice[] = {2, 0, 0, 3, 0, 3, 0};
    static const uint8_t falls[] = {2, 0, 0, 4, 0, 3, 0}, beyond[] = {2, 0, 0, 3, 0, 5, 0};
    static const uint8_t high[] = {1, 0, 0, 0xff, 0xff}, form[] = {0, 0, 2};
    uint8_t many[3 + 2 * (GRD_SET_LIST + 1)] = {GRD_SET_LIST + 1, 0, 0};

    (void)state;
    for (uint32_t i = 0; i <= GRD_SET_LIST; i++)
        many[3 + 2 * i] = (uint8_t)i;
    assert_true(grant_with_set(good, sizeof good, 5));
    assert_false(grant_with_set(twice, sizeof twice, 5));
    assert_false(grant_with_set(falls, sizeof falls, 5));
    assert_false(grant_with_set(beyond, sizeof beyond, 5));
    assert_false(grant_with_set(high, sizeof high, CF_NODES_MAX));
    assert_false(grant_with_set(form, sizeof form, 5));
    assert_false(grant_with_set(many, sizeof many, CF_NODES_MAX));
    many[0] = GRD_SET_LIST;
    assert_true(grant_with_set(many, sizeof many - 2, CF_NODES_MAX));
}

static void maps_agree_with_their_count_and_the_view(void **state)
{
    uint8_t map[3 + CF_NODES_MAX / 8] = {GRD_SET_LIST + 1, 0, 1};

    (void)state;
    map[3] = 0xff;
    map[4] = 0x1f; /* nodes 0 to 12 */
    assert_true(grant_with_set(map, sizeof map, 13));
    assert_true(grant_with_set(map, sizeof map, CF_NODES_MAX));
    assert_false(grant_with_set(map, sizeof map, 12));
    map[2] = 2; /* no such form */
    assert_false(grant_with_set(map, sizeof map, 13));
    map[2] = 1;
    map[0]++;
    assert_false(grant_with_set(map, sizeof map, 13));
    map[0] -= 2;
    assert_false(grant_with_set(map, sizeof map, 13));
    map[4] = 0x0f; /* 12 members belong in a list */
    assert_false(grant_with_set(map, sizeof map, 13));
    map[0]++;
    map[3 + CF_NODES_MAX / 8 - 1] = 0x80; /* node 1023 */
    assert_true(grant_with_set(map, sizeof map, CF_NODES_MAX));
    assert_false(grant_with_set(map, sizeof map, CF_NODES_MAX - 1));
}

static void what_is_accepted_has_one_encoding(void **state)
{
    struct cf_rng rng;
    uint32_t accepted_count = 0;

    (void)state;
    cf_rng_seed(&rng, 9);
    for (uint32_t i = 0; i < 200000; i++) {
        uint16_t type = types[cf_rng_below(&rng, TYPES)];
        uint8_t body[GRD_MSG_BYTES_MAX], again[GRD_MSG_BYTES_MAX];
        struct grd_msg msg, out;
        uint32_t bytes;

        msg_random(&rng, type, CF_NODES_MAX, set_counts[cf_rng_below(&rng, 5)], &msg);
        bytes = grd_msg_encode(&msg, body);
        for (uint64_t flips = 1 + cf_rng_below(&rng, 3); flips > 0; flips--)
            body[cf_rng_below(&rng, bytes)] ^= (uint8_t)(1u << cf_rng_below(&rng, 8));
        if (!grd_msg_decode(type, body, bytes, CF_NODES_MAX, &out))
            continue;
        accepted_count++;
        assert_int_equal(grd_msg_bytes(&out), bytes);
        assert_int_equal(grd_msg_encode(&out, again), bytes);
        assert_memory_equal(body, again, bytes);
    }
    assert_true(accepted_count > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back_and_no_other_length_does),
        cmocka_unit_test(the_largest_message_fits),
        cmocka_unit_test(an_entry_that_moves_has_holders_that_agree),
        cmocka_unit_test(fields_that_a_type_does_not_carry_are_left_alone),
        cmocka_unit_test(types_that_do_not_exist_are_refused),
        cmocka_unit_test(modes_are_s_or_x),
        cmocka_unit_test(other_enumerations_end_where_they_end),
        cmocka_unit_test(a_share_is_granted_with_nobody_to_wait_for),
        cmocka_unit_test(a_node_beyond_the_view_is_refused),
        cmocka_unit_test(what_goes_to_and_from_the_detector_is_checked),
        cmocka_unit_test(a_lock_message_without_a_name_has_none_whatever_was_in_its_place),
        cmocka_unit_test(a_copy_has_what_the_type_carries),
        cmocka_unit_test(lists_rise_strictly_within_the_view),
        cmocka_unit_test(maps_agree_with_their_count_and_the_view),
        cmocka_unit_test(what_is_accepted_has_one_encoding),
    };

    return cmocka_run_group_tests_name("grd/msg", tests, NULL, NULL);
}
