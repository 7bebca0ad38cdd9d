/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/members.h"

#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/figures.h"
#include "engine/format.h"

#define BLOCK_BYTES 8192u
#define OUTSTANDING_SHORT 4u
#define SPARE_FRAMES 256u
#define FOLDERS_OPEN_MAX 8
#define STATUS_TROUBLE 3

void members_pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        perror("sched_setaffinity");
}

void members_check(enum cf_rc rc, const char *what, const struct cf_error *error)
{
    if (rc == CF_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, cf_rc_name(rc), error != NULL ? error->text : "");
    exit(STATUS_TROUBLE);
}

static void transport_set(struct cf_options *options, const struct members_options *wanted,
                          const char *folder)
{
    struct cf_error error;
    char text[256];

    snprintf(text, sizeof text, "%s%s", wanted->transport,
             strcmp(wanted->transport, "shm:") == 0 ? folder : "");
    members_check(cf_options_set(options, "transport", text, &error), "transport", &error);
    members_check(cf_options_set(options, "waiting", wanted->waiting, &error), "waiting", &error);
    members_check(cf_options_set(options, "placement", "compact", &error), "placement", &error);
}

/* No member finds a device; one of them says so. The folder is `cachefusion bench`'s to remove. */
static void leave(const struct member *member, const struct cf_error *error)
{
    if (member->index == 0)
        printf("not run: %s\n", error->text);
    fflush(stdout);
    _exit(0);
}

static void member_open(struct member *member, const char *folder, const char *path)
{
    uint64_t blocks = member->options->blocks;
    /* A copy and a past image of every block, so that nothing is written to make room for either. */
    uint64_t frames = (member->options->is_cold ? blocks / 4 : 2 * blocks) + SPARE_FRAMES;
    struct cf_file_options file;
    struct cf_options options;
    struct cf_error error;
    enum cf_rc rc;

    cf_options_init(&options);
    transport_set(&options, member->options, folder);
    snprintf(options.cluster, sizeof options.cluster, "bench-%.24s", strrchr(folder, '-') + 1);
    snprintf(options.secret, sizeof options.secret, "a benchmark on one host");
    options.remaster = 0; /* off: what is measured are two hops, or three */
    options.node = member->index;
    options.nodes = member->options->count;
    options.cache_bytes = frames * BLOCK_BYTES;
    options.past_images = member->options->past_images != 0 ? member->options->past_images : frames;
    options.directory_bytes = member->options->directory_bytes;
    if (options.directory_bytes != 0) {
        options.outstanding = OUTSTANDING_SHORT;
        options.locks = 0;
    }
    options.dirty_age = UINT64_C(3600000000000); /* nothing is written while it is measured */
    rc = cf_open(&options, NULL, &member->instance, &error);
    if (rc == CF_NOT_FOUND)
        leave(member, &error);
    members_check(rc, "open", &error);
    members_check(cf_session_open(member->instance, &member->session), "session", NULL);
    cf_file_options_init(&file);
    file.path = path;
    file.file_id = 1;
    members_check(cf_attach(member->session, &file, &member->file), "attach",
                  cf_session_error(member->session));
}

void members_meet(struct member *member)
{
    int rc = pthread_barrier_wait(&member->board->meeting);

    if (rc != 0 && rc != PTHREAD_BARRIER_SERIAL_THREAD)
        members_check(CF_SYSTEM, "meeting", NULL);
}

void member_get(struct member *member, uint64_t block, enum cf_mode mode, struct cf_ref *ref_out)
{
    members_check(cf_get(member->session, member->file, block, mode, 0, CF_FOREVER, ref_out), "get",
                  cf_session_error(member->session));
    if (mode != CF_MODE_X)
        return;
    ++*(uint64_t *)ref_out->data;
    members_check(cf_dirty(member->session, ref_out, 0), "dirty", cf_session_error(member->session));
}

static void member_live(struct member *member, const char *folder, const char *path,
                        void (*work)(struct member *member, void *arg), void *arg)
{
    bench_pin((int)(member->index % 2));
    member_open(member, folder, path);
    members_meet(member);
    work(member, arg);
    members_meet(member);
    members_check(cf_session_close(&member->session), "session close", NULL);
    members_check(cf_close(&member->instance), "close", NULL);
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    (void)walk;
    return remove(path);
}

static void end_all(const pid_t *pids, uint32_t count, const char *folder)
{
    int status, failed = 0;

    for (uint32_t i = 1; i < count; i++)
        if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
            failed++;
    if (nftw(folder, remove_one, FOLDERS_OPEN_MAX, FTW_DEPTH | FTW_PHYS) != 0)
        perror(folder);
    if (failed > 0) {
        fprintf(stderr, "%d of the other members failed\n", failed);
        exit(STATUS_TROUBLE);
    }
}

static void board_open(struct members_board *board, uint32_t count)
{
    pthread_barrierattr_t shared;

    if (pthread_barrierattr_init(&shared) != 0 ||
        pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_barrier_init(&board->meeting, &shared, count) != 0)
        members_check(CF_SYSTEM, "meeting", NULL);
}

void members_run(const struct members_options *options, void (*work)(struct member *member, void *arg),
                 void *arg)
{
    const char *work_folder = getenv("CF_BENCH_WORK");
    char folder[128], path[160];
    struct eng_mkfs mkfs = {.block_bytes = BLOCK_BYTES, .file_id = 1, .blocks = options->blocks};
    struct member member = {.options = options};
    pid_t pids[MEMBERS_MAX] = {0};
    struct cf_error error;

    snprintf(folder, sizeof folder, "%.100s/members-XXXXXX", work_folder != NULL ? work_folder : "/dev/shm");
    if (options->count == 0 || options->count > MEMBERS_MAX || mkdtemp(folder) == NULL)
        members_check(CF_INVALID, "members", NULL);
    member.board = mmap(NULL, sizeof *member.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                        0);
    if (member.board == MAP_FAILED)
        members_check(CF_MEMORY, "members", NULL);
    board_open(member.board, options->count);
    snprintf(path, sizeof path, "%s/data", folder);
    mkfs.path = path;
    members_check(eng_format_make(&mkfs, &error), "data file", &error);
    fflush(stdout);
    for (uint32_t i = 1; i < options->count; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        member.index = i;
        member_live(&member, folder, path, work, arg);
        fflush(stdout);
        _exit(0);
    }
    member_live(&member, folder, path, work, arg);
    end_all(pids, options->count, folder);
    munmap(member.board, sizeof *member.board);
}
