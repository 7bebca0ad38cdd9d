/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long does a message of N bytes, or one with a block, take one way between two processes pinned
 * to two cores, and how does that compare with UCX active messages over shared memory in the same run?
 *
 * Two forked processes play ping-pong and poll without pause; half a round trip is one way. A repetition is
 * timed in chunks, its figure is their median; the median of repetitions is reported. With --ucx, ucx_perftest (ucp_am_lat, UCX_TLS=posix)
 * runs in turns with ours, pinned to the same cores; the ratio is ours / UCX, so below 1 is faster than UCX.
 * Before each repetition the round trip of one cache line is probed: virtual cores move over real ones, and
 * figures of different placements are not comparable. With few frames and no --touch the blocks stay in the receiver's
 * cache; a block that was changed, and that is installed in a frame long unused, is what a cache receives: --frames 4096
 * --touch.
 */
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/json.h"
#include "bench/figures.h"
#include "bench/xp_side.h"

#define REPEATS_MAX 64u
#define FRAMES_DEFAULT 64u
#define WARM_UP 2000u
#define LINE_PINGS 20000u
#define CHUNKS_MAX 1000u
#define UCX_TRIES_MAX 50u
/* Places in the table below. */
#define SUM_MESSAGE 1u
#define SUM_BLOCK 3u

struct subject {
    const char *name;
    uint32_t body_bytes;
    uint32_t class_index; /* of the block; CF_BLOCK_SIZES: no block */
    uint32_t ucx_bytes;   /* size to compare with */
    const char *figure;
};

static const struct subject subjects[] = {
    {"message 8 B", 8, CF_BLOCK_SIZES, 8, "message-8B"},
    {"message 64 B", 64, CF_BLOCK_SIZES, 64, "message-64B"},
    {"block 4 KiB", 64, 1, 4096, "block-4KiB"},
    {"block 8 KiB", 64, 2, 8192, "block-8KiB"},
    {"block 32 KiB", 64, 4, 32768, "block-32KiB"},
};

struct shared {
    _Atomic uint64_t ping CF_ALIGNED(128);
    _Atomic uint64_t pong CF_ALIGNED(128);
    double ns, line_ns; /* of one life */
};

struct settings {
    int cpus[2];
    uint32_t rounds;
    uint32_t repeats;
    bool with_ucx;
    uint32_t frames; /* of a class */
    bool is_touched;
    const char *json_path;
    const char *address;
    const char *sum_name; /* only what two hops are made of, told as one figure of this name; NULL: all */
};

static void send_one(struct xp_side *side, const struct subject *subject, uint64_t number)
{
    while (!xp_side_send(side, subject->body_bytes, subject->class_index, number))
        ; /* ping-pong never uses up a window */
    xp_flush(side->xp);
}

/* `now` is read once in a while only: a poll is given the caller's clock, whose cost is not the transport's. */
static void receive_one(struct xp_side *side, const struct subject *subject, uint64_t *now)
{
    struct xp_event event;

    while (xp_poll(side->xp, *now, &event, 1) == 0)
        *now += 20;
    if (event.type == XP_EV_BLOCK)
        xp_side_lend(side, subject->class_index);
    else if (event.type != XP_EV_MESSAGE) {
        fprintf(stderr, "xp_lat: unexpected event %u\n", event.type);
        exit(1);
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof(values[0]), compare_doubles);
    return values[count / 2];
}

/* The median of chunks: a processor that is taken away for milliseconds does not show. */
static double ping_pong(struct xp_side *side, uint16_t me, const struct subject *subject, uint32_t rounds)
{
    uint32_t chunks = rounds < CHUNKS_MAX ? rounds : CHUNKS_MAX;
    double chunk_ns[CHUNKS_MAX] = {0};
    uint64_t now = cf_now_ns();

    for (uint32_t c = 0; c < chunks; c++) {
        uint64_t begin_ns = cf_now_ns();

        for (uint32_t i = 0; i < rounds / chunks; i++) {
            if (me == 0)
                send_one(side, subject, i);
            receive_one(side, subject, &now);
            if (me == 1)
                send_one(side, subject, i);
        }
        chunk_ns[c] = (double)(cf_now_ns() - begin_ns) / (rounds / chunks) / 2;
    }
    return median(chunk_ns, chunks);
}

/* Round trip of one cache line between the two cores. */
static double line_probe(struct shared *shared, uint16_t me)
{
    uint64_t begin_ns = cf_now_ns();
    uint64_t base = cf_peek_u64(&shared->ping);

    if (me == 1)
        base = cf_peek_u64(&shared->pong);
    for (uint64_t i = base + 1; i <= base + LINE_PINGS; i++) {
        if (me == 0)
            cf_publish_u64(&shared->ping, i);
        while (cf_observe_u64(me == 0 ? &shared->pong : &shared->ping) < i)
            ;
        if (me == 1)
            cf_publish_u64(&shared->pong, i);
    }
    return (double)(cf_now_ns() - begin_ns) / LINE_PINGS;
}

/* Runs a program pinned, its output into a pipe; -1 when it could not be run. */
static pid_t spawn(const struct settings *settings, int which, const char *const argv[], int *out_fd)
{
    int pipes[2];
    pid_t pid;

    if (pipe(pipes) != 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        xp_side_pin(settings->cpus[which]);
        setenv("UCX_TLS", "posix,self", 1);
        setenv("UCX_WARN_UNUSED_ENV_VARS", "n", 1);
        dup2(pipes[1], STDOUT_FILENO);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pipes[1]);
    *out_fd = pipes[0];
    return pid;
}

/* The median of the client's final line: iterations, median, average, overall latency in microseconds. 0: there was none. */
static double ucx_client(const struct settings *settings, const char *const argv[])
{
    double typical_ns = 0;
    char line[256];
    int out_fd, status;
    pid_t pid = spawn(settings, 0, argv, &out_fd);
    FILE *out = pid > 0 ? fdopen(out_fd, "r") : NULL;

    while (out != NULL && fgets(line, sizeof(line), out) != NULL) {
        double p50_us, average_us, overall_us;
        unsigned long count;
        const char *colon = strchr(line, ':');
        const char *numbers = colon != NULL ? colon + 1 : line;

        if (sscanf(numbers, "%lu %lf %lf %lf", &count, &p50_us, &average_us, &overall_us) == 4)
            typical_ns = p50_us * 1000;
    }
    if (out != NULL)
        fclose(out);
    if (pid > 0)
        waitpid(pid, &status, 0);
    return typical_ns;
}

/* Half round trip of ucp_am_lat in nanoseconds, 0 when it could not be had. */
static double ucx_run(const struct settings *settings, const struct subject *subject)
{
    char bytes[16], rounds[16], port[16];
    const char *server[] = {"ucx_perftest", "-p", port, NULL};
    const char *client[] = {"ucx_perftest", "127.0.0.1", "-t", "ucp_am_lat", "-s", bytes,
                            "-n",           rounds,      "-p", port,         "-f", NULL};
    double typical_ns = 0;
    int server_fd, status;
    pid_t server_pid;

    snprintf(bytes, sizeof(bytes), "%u", subject->ucx_bytes);
    snprintf(rounds, sizeof(rounds), "%u", settings->rounds);
    snprintf(port, sizeof(port), "%u", 20000u + (unsigned)getpid() % 20000u);
    server_pid = spawn(settings, 1, server, &server_fd);
    /* A client that comes before the server listens ends at once: try again, a bounded number of times. */
    for (uint32_t i = 0; server_pid > 0 && i < UCX_TRIES_MAX && typical_ns == 0; i++) {
        typical_ns = ucx_client(settings, client);
        sched_yield();
    }
    if (server_pid > 0) {
        kill(server_pid, SIGTERM);
        waitpid(server_pid, &status, 0);
    }
    close(server_fd);
    return typical_ns;
}

struct figures {
    double ours[REPEATS_MAX], ucx[REPEATS_MAX], ratio[REPEATS_MAX], line[REPEATS_MAX];
    double ours_ns, ucx_ns, ratio_median, line_ns, ours_min_ns;
};

/* Both processes of one life. */
static int life(const struct settings *settings, const struct subject *subject, struct shared *shared)
{
    pid_t other = fork();
    uint16_t me = other == 0 ? 1 : 0;
    struct xp_side side;
    int status = 0;

    if (other < 0) {
        perror("xp_lat: fork");
        return 1;
    }
    xp_side_pin(settings->cpus[me]);
    xp_side_open(&side,
                 &(struct xp_side_options){settings->address, me, settings->frames, settings->is_touched});
    ping_pong(&side, me, subject, WARM_UP);
    if (me == 1) {
        (void)line_probe(shared, me);
        (void)ping_pong(&side, me, subject, settings->rounds);
        xp_close(&side.xp);
        return 0;
    }
    shared->line_ns = line_probe(shared, me);
    shared->ns = ping_pong(&side, me, subject, settings->rounds);
    waitpid(other, &status, 0);
    xp_close(&side.xp);
    if (status != 0)
        fprintf(stderr, "xp_lat: the other side failed\n");
    return status != 0;
}

/* One life of the two processes: a probe and one timed repetition of one subject. What a life leaves (DPDK) ends with it. */
static void measure(const struct settings *settings, const struct subject *subject, struct shared *shared,
                    double *ns_out, double *line_out)
{
    int status = 0;
    pid_t pid;

    shared->ns = 0;
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        exit(life(settings, subject, shared));
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        exit(1);
    if (shared->ns <= 0)
        exit(0); /* the life has said why it was not run */
    *ns_out = shared->ns;
    *line_out = shared->line_ns;
}

static json_t *figures_json(const struct subject *subject, const struct settings *settings,
                            const struct figures *f)
{
    json_t *object = json_object();
    int rc = cf_json_add_str(object, "subject", subject->name);

    rc |= cf_json_add_u64(object, "rounds", settings->rounds);
    rc |= cf_json_add_u64(object, "repeats", settings->repeats);
    rc |= cf_json_add_double(object, "one_way_ns", f->ours_ns);
    rc |= cf_json_add_double(object, "one_way_min_ns", f->ours_min_ns);
    rc |= cf_json_add_double(object, "line_round_trip_ns", f->line_ns);
    if (settings->with_ucx) {
        rc |= cf_json_add_double(object, "ucx_one_way_ns", f->ucx_ns);
        rc |= cf_json_add_double(object, "ratio_to_ucx", f->ratio_median);
    }
    cf_assert(rc == 0);
    return object;
}

static json_t *run_subject(const struct subject *subject, const struct settings *settings,
                           struct shared *shared, double *ours_ns_out)
{
    static struct figures f;
    uint32_t ucx_count = 0;

    for (uint32_t i = 0; i < settings->repeats; i++) {
        double ucx;

        measure(settings, subject, shared, &f.ours[i], &f.line[i]);
        ucx = settings->with_ucx ? ucx_run(settings, subject) : 0;
        if (ucx > 0) {
            f.ratio[ucx_count] = f.ours[i] / ucx;
            f.ucx[ucx_count++] = ucx;
        }
    }
    if (settings->with_ucx && ucx_count == 0) {
        fprintf(stderr, "xp_lat: ucx_perftest gave no figure (is ucx-utils installed?)\n");
        exit(1);
    }
    f.ours_ns = median(f.ours, settings->repeats);
    f.ours_min_ns = f.ours[0];
    f.line_ns = median(f.line, settings->repeats);
    printf("%-14s one way %8.1f ns (min %.1f), line round trip %.0f ns", subject->name, f.ours_ns,
           f.ours_min_ns, f.line_ns);
    if (settings->with_ucx) {
        f.ucx_ns = median(f.ucx, ucx_count);
        f.ratio_median = median(f.ratio, ucx_count);
        printf(", ucx %8.1f ns, ratio %.2f", f.ucx_ns, f.ratio_median);
    }
    printf("\n");
    if (settings->sum_name == NULL)
        bench_figure(subject->figure, f.ours_ns, "ns");
    fflush(stdout);
    *ours_ns_out += f.ours_ns;
    return figures_json(subject, settings, &f);
}

static void settings_parse(struct settings *settings, int argc, char **argv)
{
    static const struct option names[] = {{"json", required_argument, NULL, 'j'},
                                          {"ucx", no_argument, NULL, 'u'},
                                          {"rounds", required_argument, NULL, 'n'},
                                          {"repeats", required_argument, NULL, 'r'},
                                          {"cpus", required_argument, NULL, 'c'},
                                          {"address", required_argument, NULL, 'a'},
                                          {"frames", required_argument, NULL, 'f'},
                                          {"touch", no_argument, NULL, 't'},
                                          {"sum", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int name;

    *settings = (struct settings){.cpus = {bench_cpu(0), bench_cpu(1)},
                                  .rounds = 100000,
                                  .repeats = 9,
                                  .frames = FRAMES_DEFAULT,
                                  .address = "shm:"};
    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        int matched = 2;
        if (name == 'j')
            settings->json_path = optarg;
        else if (name == 'u')
            settings->with_ucx = true;
        else if (name == 'n')
            settings->rounds = (uint32_t)strtoul(optarg, NULL, 10);
        else if (name == 'r')
            settings->repeats = (uint32_t)strtoul(optarg, NULL, 10);
        else if (name == 'f')
            settings->frames = (uint32_t)strtoul(optarg, NULL, 10);
        else if (name == 't')
            settings->is_touched = true;
        else if (name == 's')
            settings->sum_name = optarg;
        else if (name == 'a')
            settings->address = optarg;
        else if (name == 'c')
            matched = sscanf(optarg, "%d,%d", &settings->cpus[0], &settings->cpus[1]);
        if (name == 'h' || name == '?' || matched != 2) {
            printf(
                "usage: xp_lat [--json FILE] [--ucx] [--rounds N] [--repeats N] [--cpus A,B] [--address "
                "shm:] [--frames N] [--touch] [--sum NAME]\n"
                "  --frames N  frames of each size: half are sent in turn, half received into (2 to 4096)\n"
                "  --touch     the sender changes the first line of a block before it sends it\n"
                "  --sum NAME  only a message of 64 B and a block of 8 KiB; the sum of both is the figure "
                "NAME\n");
            exit(name == 'h' ? 0 : 2);
        }
    }
    if (settings->frames < 2 || settings->frames > XP_SIDE_FRAMES_MAX || settings->frames % 2 != 0) {
        fprintf(stderr, "xp_lat: --frames is even, from 2 to %u\n", XP_SIDE_FRAMES_MAX);
        exit(2);
    }
    if (settings->rounds == 0 || settings->repeats == 0 || settings->repeats > REPEATS_MAX) {
        fprintf(stderr, "xp_lat: --rounds from 1, --repeats from 1 to %u\n", REPEATS_MAX);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                 -1, 0);
    json_t *results = json_array();
    double sum_ns = 0;

    settings_parse(&settings, argc, argv);
    if (!bench_has_two_cpus())
        return 0;
    if (shared == MAP_FAILED || results == NULL) {
        fprintf(stderr, "xp_lat: no memory\n");
        return 1;
    }
    for (uint32_t i = 0; i < CF_COUNTOF(subjects); i++)
        if ((settings.sum_name == NULL || i == SUM_MESSAGE || i == SUM_BLOCK) &&
            json_array_append_new(results, run_subject(&subjects[i], &settings, shared, &sum_ns)) != 0)
            return 1;
    if (settings.sum_name != NULL)
        bench_figure(settings.sum_name, sum_ns, "ns");
    if (settings.json_path != NULL) {
        json_t *root = json_object();
        int rc = cf_json_add_str(root, "bench", "xp_lat");
        rc |= cf_json_add_child(root, "results", results);
        if (rc != 0 || cf_json_write_file(root, settings.json_path) != 0) {
            fprintf(stderr, "xp_lat: cannot write %s\n", settings.json_path);
            return 1;
        }
    }
    return 0;
}
