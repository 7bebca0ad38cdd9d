/* SPDX-License-Identifier: Apache-2.0 */
/* What stops an instance stops it whatever the progress loop is in the middle of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cluster_fixture.h"

#define FRAMES 64u
#define BLOCKS 200u

/* A database whose before_write refuses every image of a data block once `refuses` is set. */
struct database {
    struct cluster cluster; /* its directory and file; the instance is opened here, with callbacks */
    bool refuses;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
};

static enum cf_rc before_write(void *context, const struct cf_block_key *key, void *image, uint32_t bytes,
                               uint64_t ticket)
{
    const struct database *database = context;

    (void)image;
    (void)bytes;
    (void)ticket;
    return database->refuses && key->block < BLOCKS ? CF_IO : CF_OK;
}

static void database_open(struct database *database)
{
    struct cf_callbacks callbacks = {
        .size = sizeof callbacks, .context = database, .before_write = before_write};
    struct cf_file_options file;
    struct cf_options options;
    char path[128];

    memset(database, 0, sizeof *database);
    cluster_init(&database->cluster, 1);
    cluster_file(&database->cluster, "data", 7, BLOCKS);
    cf_options_init(&options);
    snprintf(options.transport, sizeof options.transport, "shm:%s", database->cluster.directory);
    options.nodes = 1;
    options.cache_bytes = 0;
    options.cache_2k_bytes = FRAMES * CLUSTER_BLOCK_BYTES;
    options.outstanding = 8;
    options.sessions = 4;
    options.call_timeout = CLUSTER_CALL_TIMEOUT_NS;
    options.dirty_age = 3600000000000ull; /* nothing is written unless a caller needs it */
    options.log = 0;
    assert_int_equal(cf_open(&options, &callbacks, &database->instance, NULL), CF_OK);
    assert_int_equal(cf_session_open(database->instance, &database->session), CF_OK);
    cf_file_options_init(&file);
    cluster_path(&database->cluster, "data", path);
    file.path = path;
    file.file_id = 7;
    assert_int_equal(cf_attach(database->session, &file, &database->file), CF_OK);
    database->refuses = true;
}

static void database_close(struct database *database)
{
    assert_int_equal(cf_session_close(&database->session), CF_OK);
    assert_int_equal(cf_close(&database->instance), CF_IO);
    cluster_end(&database->cluster);
}

static enum cf_rc change(struct database *database, uint64_t block)
{
    struct cf_ref ref;
    enum cf_rc rc = cf_get(database->session, database->file, block, CF_MODE_X, 0, cluster_deadline(), &ref);

    if (rc != CF_OK)
        return rc;
    rc = cf_dirty(database->session, &ref, 0);
    cf_put(database->session, &ref);
    return rc;
}

static void a_refused_write_ends_the_get_that_wanted_the_room(void **state)
{
    struct database database;
    enum cf_rc rc = CF_OK;
    uint64_t block;

    (void)state;
    database_open(&database);
    for (block = 0; block < BLOCKS && rc == CF_OK; block++)
        rc = change(&database, block);
    assert_int_equal(rc, CF_IO);
    assert_int_equal(cf_state(database.instance, NULL), CF_IO);
    database_close(&database);
}

static void a_refused_write_ends_every_flush_that_waits(void **state)
{
    struct cf_op flush[3] = {{.kind = CF_OP_FLUSH}, {.kind = CF_OP_FLUSH}, {.kind = CF_OP_FLUSH}}, *done[3];
    struct database database;
    uint32_t i, count = 0;

    (void)state;
    database_open(&database);
    database.refuses = false;
    assert_int_equal(change(&database, 1), CF_OK);
    database.refuses = true;
    for (i = 0; i < 3; i++) {
        flush[i].deadline_ns = cluster_deadline();
        if (cf_submit(database.session, &flush[i]) != CF_OK)
            break;
    }
    while (count < i) {
        uint32_t more = cf_wait(database.session, done + count, 3 - count, cluster_deadline());

        assert_int_not_equal(more, 0);
        count += more;
    }
    assert_int_not_equal(count, 0);
    while (count-- > 0)
        assert_int_equal(done[count]->rc, CF_IO);
    database_close(&database);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_write_ends_the_get_that_wanted_the_room),
        cmocka_unit_test(a_refused_write_ends_every_flush_that_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
