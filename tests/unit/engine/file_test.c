/* SPDX-License-Identifier: Apache-2.0 */
/* Files on instances that share them: attach, detach, length. Truncate and drop are in file_op_test.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster_fixture.h"
#include "engine/format.h"

static uint64_t blocks_of(struct cluster *cluster, uint32_t node, struct cf_file *file)
{
    struct cf_file_info info = {.size = sizeof info};

    assert_int_equal(cf_file_info(cluster->session[node], file, &info), CF_OK);
    return info.blocks;
}

static void attach_marks_the_file_and_detach_leaves_it_clean(void **state)
{
    struct cf_file_info info = {.size = sizeof info};
    struct cf_file *file[2];
    struct cluster c;

    (void)state;
    cluster_init(&c, 2);
    cluster_file(&c, "data", 7, 10);
    cluster_open(&c);
    file[0] = cluster_attach(&c, 0, "data", 7);
    assert_int_equal(cluster_super(&c, "data").attached, 1);
    file[1] = cluster_attach(&c, 1, "data", 7);
    assert_int_equal(cf_file_info(c.session[1], file[1], &info), CF_OK);
    assert_int_equal(info.file_id, 7);
    assert_int_equal(info.blocks, 10);
    assert_int_equal(info.data_bytes, CLUSTER_BLOCK_BYTES - 64);
    assert_int_equal(info.bytes, 11 * CLUSTER_BLOCK_BYTES);
    assert_int_equal(cluster_super(&c, "data").attached, 2);
    assert_true(cluster_super(&c, "data").unclean);
    cluster_write(&c, 0, file[0], 3, 33);
    assert_int_equal(cluster_read(&c, 1, file[1], 3), 33);
    assert_int_equal(cf_detach(c.session[0], &file[0]), CF_OK);
    assert_null(file[0]);
    assert_int_equal(cluster_super(&c, "data").attached, 1);
    assert_int_equal(cluster_read(&c, 1, file[1], 3), 33);
    assert_int_equal(cf_detach(c.session[1], &file[1]), CF_OK);
    assert_false(cluster_super(&c, "data").unclean);
    assert_int_equal(cluster_super(&c, "data").damaged, 0);
    assert_int_equal(cluster_read(&c, 1, cluster_attach(&c, 1, "data", 7), 3), 33);
    cluster_close(&c); /* detaches what is attached */
    assert_false(cluster_super(&c, "data").unclean);
    cluster_end(&c);
}

static enum cf_rc attach_with(struct cluster *c, const struct cf_file_options *options)
{
    struct cf_file *file = NULL;
    enum cf_rc rc = cf_attach(c->session[0], options, &file);

    if (rc != CF_OK)
        assert_null(file);
    return rc;
}

static void what_cannot_be_attached_says_why_and_leaves_nothing(void **state)
{
    struct cf_file_options options;
    char path[128], other[128], is_long[300];
    struct cf_file *file;
    struct cluster c;
    uint32_t i;
    int fd;

    (void)state;
    cluster_init(&c, 1);
    c.files = 2;
    cluster_file(&c, "data", 7, 10);
    cluster_path(&c, "data", path);
    cluster_open(&c);
    cf_file_options_init(&options);
    options.file_id = 7;
    assert_int_equal(attach_with(&c, &options), CF_INVALID); /* no path */
    memset(is_long, 'x', sizeof is_long - 1);
    is_long[sizeof is_long - 1] = 0;
    options.path = is_long;
    assert_int_equal(attach_with(&c, &options), CF_INVALID);
    options.path = path;
    options.file_id = 0;
    assert_int_equal(attach_with(&c, &options), CF_INVALID);
    options.file_id = 8; /* the superblock says 7 */
    assert_int_equal(attach_with(&c, &options), CF_INVALID);
    options.file_id = 7;
    options.format = (enum cf_format)9;
    assert_int_equal(attach_with(&c, &options), CF_INVALID);
    options.format = CF_FORMAT_NATIVE;
    options.block_bytes = 4096;
    assert_int_equal(attach_with(&c, &options), CF_BLOCK_SIZE);
    options.block_bytes = 0;
    cluster_path(&c, "none", other);
    options.path = other;
    assert_int_equal(attach_with(&c, &options), CF_NOT_FOUND);
    cluster_path(&c, "strange", other);
    fd = open(other, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 64 * 1024), 0);
    close(fd);
    assert_int_equal(attach_with(&c, &options), CF_FORMAT);
    options.format = CF_FORMAT_FOREIGN;
    options.block_bytes = CLUSTER_BLOCK_BYTES;
    assert_int_equal(attach_with(&c, &options), CF_READ_ONLY); /* no versions */
    options.read_only = true;
    options.block_bytes = 3000;
    assert_int_equal(attach_with(&c, &options), CF_BLOCK_SIZE);
    options.block_bytes = 0; /* 8192: there are no such frames */
    assert_int_equal(attach_with(&c, &options), CF_BLOCK_SIZE);
    assert_non_null(strstr(cf_session_error(c.session[0])->text, "cache_bytes"));
    for (i = 0; i < 5; i++) /* more often than there are slots */
        assert_int_equal(attach_with(&c, &options), CF_BLOCK_SIZE);
    assert_int_equal(cluster_super(&c, "data").attached, 0);
    file = cluster_attach(&c, 0, "data", 7);
    assert_int_equal(cluster_attach_try(&c, 0, "data", 7, &file), CF_INVALID); /* the id, and the path */
    assert_int_equal(cluster_attach_try(&c, 0, "data", 9, &file), CF_INVALID);
    cluster_close(&c);
    cluster_end(&c);
}

static void a_foreign_file_is_read_without_a_superblock(void **state)
{
    struct cf_file_info info = {.size = sizeof info};
    struct cf_file_options options;
    uint8_t bytes[CLUSTER_BLOCK_BYTES];
    struct cf_file *file;
    struct cf_ref ref;
    struct cluster c;
    char path[128];
    int fd;

    (void)state;
    cluster_init(&c, 1);
    cluster_path(&c, "foreign", path);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    memset(bytes, 0x5a, sizeof bytes);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(write(fd, bytes, 100), 100);
    close(fd);
    cluster_open(&c);
    cf_file_options_init(&options);
    options.path = path;
    options.file_id = 1;
    options.block_bytes = CLUSTER_BLOCK_BYTES;
    options.format = CF_FORMAT_FOREIGN;
    options.read_only = true;
    assert_int_equal(cf_attach(c.session[0], &options, &file), CF_OK);
    assert_int_equal(cf_file_info(c.session[0], file, &info), CF_OK);
    assert_int_equal(info.blocks, 2);
    assert_int_equal(info.bytes, sizeof bytes + 100);
    assert_int_equal(info.data_bytes, CLUSTER_BLOCK_BYTES);
    assert_int_equal(cf_get(c.session[0], file, 1, CF_MODE_S, 0, cluster_deadline(), &ref), CF_OK);
    assert_memory_equal(ref.data, bytes, 100);
    assert_int_equal(((uint8_t *)ref.data)[100], 0);
    cf_put(c.session[0], &ref);
    assert_int_equal(cf_get(c.session[0], file, 1, CF_MODE_X, 0, cluster_deadline(), &ref), CF_READ_ONLY);
    assert_int_equal(cf_get(c.session[0], file, 2, CF_MODE_S, 0, cluster_deadline(), &ref), CF_RANGE);
    assert_int_equal(cf_extend(c.session[0], file, 5), CF_READ_ONLY);
    assert_int_equal(cf_detach(c.session[0], &file), CF_OK);
    cluster_close(&c);
    cluster_end(&c);
}

static void copy_file(const char *from, const char *to)
{
    uint8_t bytes[4096];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t got;

    assert_true(in >= 0 && out >= 0);
    while ((got = read(in, bytes, sizeof bytes)) > 0)
        assert_int_equal(write(out, bytes, (size_t)got), got);
    close(in);
    close(out);
}

static void a_file_of_a_cluster_that_died_is_refused_unless_the_loss_is_accepted(void **state)
{
    struct cf_file_options options;
    char path[128], dead[128];
    struct cf_file *file;
    struct cluster c;

    (void)state;
    cluster_init(&c, 1);
    cluster_file(&c, "data", 7, 10);
    cluster_path(&c, "data", path);
    cluster_path(&c, "dead", dead);
    cluster_open(&c);
    (void)cluster_attach(&c, 0, "data", 7);
    copy_file(path, dead); /* what storage holds if the instance dies now */
    cluster_close(&c);
    cluster_open(&c);
    assert_int_equal(cluster_attach_try(&c, 0, "dead", 7, &file), CF_UNCLEAN);
    cf_file_options_init(&options);
    options.path = dead;
    options.file_id = 7;
    options.read_only = true;
    options.accept_loss = true; /* nobody takes the note of it for a reader */
    assert_int_equal(cf_attach(c.session[0], &options, &file), CF_UNCLEAN);
    options.read_only = false;
    assert_int_equal(cf_attach(c.session[0], &options, &file), CF_OK);
    assert_int_equal(cluster_super(&c, "dead").attached, 1);
    assert_int_equal(cluster_super(&c, "dead").losses, 1);
    assert_int_equal(cf_detach(c.session[0], &file), CF_OK);
    assert_false(cluster_super(&c, "dead").unclean);
    cluster_close(&c);
    c.name = "another";
    cluster_open(&c);
    assert_int_equal(cluster_attach_try(&c, 0, "dead", 7, &file), CF_CLUSTER);
    cluster_close(&c);
    cluster_end(&c);
}

static void a_reader_leaves_no_mark(void **state)
{
    struct cf_file_options options;
    struct cf_file *file, *reader;
    struct cf_ref ref;
    struct cluster c;
    char path[128];

    (void)state;
    cluster_init(&c, 2);
    cluster_file(&c, "data", 7, 10);
    cluster_path(&c, "data", path);
    cluster_open(&c);
    cf_file_options_init(&options);
    options.path = path;
    options.file_id = 7;
    options.read_only = true;
    assert_int_equal(cf_attach(c.session[1], &options, &reader), CF_OK);
    assert_int_equal(cluster_super(&c, "data").attached, 0);
    file = cluster_attach(&c, 0, "data", 7);
    cluster_write(&c, 0, file, 2, 22);
    assert_int_equal(cluster_read(&c, 1, reader, 2), 22);
    assert_int_equal(cf_get(c.session[1], reader, 2, CF_MODE_X, 0, cluster_deadline(), &ref), CF_READ_ONLY);
    assert_int_equal(cf_truncate(c.session[1], reader, 1), CF_READ_ONLY);
    assert_int_equal(cf_detach(c.session[1], &reader), CF_OK);
    assert_int_equal(cluster_super(&c, "data").attached, 1);
    cluster_close(&c);
    cluster_end(&c);
}

static void detach_with_a_reference_held_takes_nothing_away(void **state)
{
    struct cf_file *file;
    struct cf_ref ref;
    struct cluster c;
    uint32_t i;

    (void)state;
    cluster_init(&c, 1);
    c.call_timeout_ns = 100000000;
    cluster_file(&c, "data", 7, 10);
    cluster_open(&c);
    file = cluster_attach(&c, 0, "data", 7);
    assert_int_equal(cf_get(c.session[0], file, 4, CF_MODE_X, 0, cluster_deadline(), &ref), CF_OK);
    for (i = 0; i < 2; i++) {
        assert_int_equal(cf_detach(c.session[0], &file), CF_BUSY);
        assert_non_null(file);
        assert_int_equal(cluster_super(&c, "data").attached, 1);
        assert_true(cluster_super(&c, "data").unclean);
    }
    memset(ref.data, 0x44, 8);
    assert_int_equal(cf_dirty(c.session[0], &ref, 0), CF_OK);
    cf_put(c.session[0], &ref);
    assert_int_equal(cluster_read(&c, 0, file, 4), 0x4444444444444444ull);
    assert_int_equal(cf_detach(c.session[0], &file), CF_OK);
    assert_int_equal(cluster_super(&c, "data").attached, 0);
    file = cluster_attach(&c, 0, "data", 7);
    assert_int_equal(cluster_read(&c, 0, file, 4), 0x4444444444444444ull);
    assert_int_equal(cluster_super(&c, "data").attached, 1);
    cluster_close(&c);
    cluster_end(&c);
}

static void detach_takes_prefetches_along(void **state)
{
    struct cf_file *file;
    struct cluster c;
    uint32_t i;

    (void)state;
    cluster_init(&c, 1);
    cluster_file(&c, "data", 7, 500);
    cluster_file(&c, "more", 8, 500);
    cluster_open(&c);
    for (i = 0; i < 20; i++) { /* more blocks than frames and conversations: some of them starve */
        file = cluster_attach(&c, 0, i % 2 ? "data" : "more", 7 + (i % 2 == 0));
        (void)cf_prefetch(c.session[0], file, i * 20, 64);
        assert_int_equal(cf_detach(c.session[0], &file), CF_OK);
    }
    cluster_close(&c);
    assert_int_equal(cluster_super(&c, "data").damaged, 0);
    cluster_end(&c);
}

static void a_forked_child_is_refused(void **state)
{
    struct cf_file *file;
    struct cluster c;
    int status;
    pid_t child;

    (void)state;
    cluster_init(&c, 1);
    cluster_file(&c, "data", 7, 10);
    cluster_open(&c);
    file = cluster_attach(&c, 0, "data", 7);
    child = fork();
    if (child == 0) {
        alarm(5); /* a child that waits for the parent's threads would wait for ever */
        _exit(cf_detach(c.session[0], &file) == CF_FORKED && file != NULL &&
                      cf_extend(c.session[0], file, 20) == CF_FORKED &&
                      cf_truncate(c.session[0], file, 5) == CF_FORKED
                  ? 0
                  : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(cf_detach(c.session[0], &file), CF_OK);
    cluster_close(&c);
    cluster_end(&c);
}

static void all_instances_see_an_extended_file(void **state)
{
    struct cf_file *file[2];
    struct cf_ref ref;
    struct cluster c;

    (void)state;
    cluster_init(&c, 2);
    cluster_file(&c, "data", 7, 10);
    cluster_open(&c);
    file[0] = cluster_attach(&c, 0, "data", 7);
    file[1] = cluster_attach(&c, 1, "data", 7);
    assert_int_equal(cf_get(c.session[1], file[1], 10, CF_MODE_S, 0, cluster_deadline(), &ref), CF_RANGE);
    assert_int_equal(cf_extend(c.session[0], file[0], 25), CF_OK);
    assert_int_equal(cluster_super(&c, "data").blocks, 25);
    assert_int_equal(cluster_super(&c, "data").damaged, 0);
    assert_int_equal(cf_get(c.session[1], file[1], 24, CF_MODE_X, CF_GET_NEW, cluster_deadline(), &ref),
                     CF_OK);
    assert_int_equal(ref.version, 0);
    cf_put(c.session[1], &ref);
    assert_int_equal(cf_get(c.session[1], file[1], 25, CF_MODE_S, 0, cluster_deadline(), &ref), CF_RANGE);
    assert_int_equal(cf_extend(c.session[1], file[1], 5), CF_OK); /* long enough already */
    assert_int_equal(blocks_of(&c, 1, file[1]), 25);
    assert_int_equal(cf_extend(c.session[1], file[1], UINT64_MAX), CF_INVALID);
    assert_int_equal(cf_extend(c.session[1], file[1], 1ull << 40), CF_NO_SPACE); /* 2 PiB */
    assert_int_equal(blocks_of(&c, 0, file[0]), 25);
    assert_int_equal(cluster_super(&c, "data").blocks, 25);
    cluster_close(&c);
    cluster_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attach_marks_the_file_and_detach_leaves_it_clean),
        cmocka_unit_test(what_cannot_be_attached_says_why_and_leaves_nothing),
        cmocka_unit_test(a_foreign_file_is_read_without_a_superblock),
        cmocka_unit_test(a_file_of_a_cluster_that_died_is_refused_unless_the_loss_is_accepted),
        cmocka_unit_test(a_reader_leaves_no_mark),
        cmocka_unit_test(detach_with_a_reference_held_takes_nothing_away),
        cmocka_unit_test(detach_takes_prefetches_along),
        cmocka_unit_test(a_forked_child_is_refused),
        cmocka_unit_test(all_instances_see_an_extended_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
