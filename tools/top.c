/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion top`: the status again and again, with rates. On a terminal it stays in place; `q` ends it. */
#include <errno.h>
#include <inttypes.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cachefusion/types.h>

#include "base/clock.h"
#include "tools/exits.h"
#include "tools/status.h"
#include "tools/tools.h"

static const struct cf_option_desc table[] = {
    {.name = "socket",
     .text = "status socket of the instance",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct status_args, socket),
     .dflt = "",
     .max = STATUS_PATH_BYTES},
    {.name = "config",
     .text = "cluster file that names the socket (status_path)",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct status_args, config),
     .dflt = "",
     .max = STATUS_PATH_BYTES},
    {.name = "node",
     .text = "which instance of the cluster file",
     .type = CF_OPTION_U16,
     .offset = offsetof(struct status_args, node),
     .dflt = "0",
     .max = CF_NODES_MAX - 1},
    {.name = "every",
     .text = "time between two looks",
     .unit = "s",
     .type = CF_OPTION_DOUBLE,
     .offset = offsetof(struct status_args, every),
     .dflt = "1",
     .max = 3600},
    {.name = "count",
     .text = "looks; 0 = until it is ended",
     .type = CF_OPTION_U64,
     .offset = offsetof(struct status_args, count),
     .dflt = "0"},
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "top",
    .summary = "Watches a running instance: rates, hit ratio, latencies, who waits for what.",
    .table = table,
    .table_count = sizeof(table) / sizeof(table[0]),
    .notes = "On a terminal the page is refreshed in place and 'q' ends it; elsewhere a line is printed for "
             "each look.\n"
             "It ends when the instance does.\n" EXITS_NOTE,
};

struct top {
    const struct status_args *args;
    char path[STATUS_PATH_BYTES];
    bool is_terminal;
    int signal_fd;
    json_t *before;
    uint64_t before_ns;
    int row;
    char text[512]; /* why it ended, empty when it was told to */
};

static void draw_line(void *arg, const char *line)
{
    struct top *top = arg;

    mvaddnstr(top->row++, 0, line, COLS);
}

static void draw(struct top *top, const json_t *status, double seconds)
{
    erase();
    top->row = 0;
    status_describe(status, top->before, seconds, LINES > 1 ? (uint32_t)LINES - 1 : 0, draw_line, top);
    attron(A_REVERSE);
    mvprintw(LINES - 1, 0, " cachefusion top: %s   q ends ", top->path);
    attroff(A_REVERSE);
    refresh();
}

static double rate_of(const json_t *now, const json_t *before, double seconds, const char *name)
{
    uint64_t after = status_counter(now, name), then = status_counter(before, name);

    return after > then && seconds > 0 ? (double)(after - then) / seconds : 0;
}

static void print_look(const struct top *top, const json_t *status, double seconds)
{
    const json_t *modes = json_object_get(status, "modes");
    double gets, hits, grants, own;

    if (top->before == NULL)
        return;
    gets = rate_of(status, top->before, seconds, "gets");
    hits = rate_of(status, top->before, seconds, "hits");
    grants = rate_of(status, top->before, seconds, "master_requests");
    own = rate_of(status, top->before, seconds, "master_requests_local");
    printf("node %" PRIu64
           " %s  gets/s %.0f  hits %.1f %%  received/s %.0f  shipped/s %.0f  disk/s %.0f  held S %" PRIu64
           " X %" PRIu64 "  in flight %zu  masters %" PRIu64
           " buckets, %.1f %% of %.0f grants/s its own, %" PRIu64 " given, %" PRIu64 " taken\n",
           status_u64(status, "node"), status_str(status, "state"), gets, gets > 0 ? 100 * hits / gets : 0,
           rate_of(status, top->before, seconds, "hops2") + rate_of(status, top->before, seconds, "hops3"),
           rate_of(status, top->before, seconds, "blocks_shipped"),
           rate_of(status, top->before, seconds, "disk_reads") +
               rate_of(status, top->before, seconds, "disk_writes"),
           status_u64(modes, "s"), status_u64(modes, "x"),
           json_array_size(json_object_get(status, "conversations")), status_counter(status, "buckets_owned"),
           grants > 0 ? 100 * own / grants : 0, grants, status_counter(status, "remaster_given"),
           status_counter(status, "remaster_taken"));
    fflush(stdout);
}

/* False: the instance does not answer any more. */
static bool look(struct top *top)
{
    uint64_t now_ns = cf_now_ns();
    double seconds = (double)(now_ns - top->before_ns) / (double)CF_NS_PER_S;
    json_t *status = status_fetch(top->path, top->text, sizeof(top->text));

    if (status == NULL)
        return false;
    if (top->is_terminal)
        draw(top, status, seconds);
    else
        print_look(top, status, seconds);
    json_decref(top->before);
    top->before = status;
    top->before_ns = now_ns;
    return true;
}

/* Until the next look is due; true when it is to end. */
static bool wait_for_end(const struct top *top, uint64_t until_ns)
{
    struct pollfd ready[] = {{.fd = top->signal_fd, .events = POLLIN},
                             {.fd = top->is_terminal ? STDIN_FILENO : -1, .events = POLLIN}};
    uint64_t now_ns = cf_now_ns();

    while (now_ns < until_ns) {
        if (poll(ready, 2, (int)((until_ns - now_ns) / CF_NS_PER_MS) + 1) > 0) {
            int key = ready[1].revents != 0 ? getch() : ERR;

            if (ready[0].revents != 0 || key == 'q' || key == 'Q')
                return true;
        }
        now_ns = cf_now_ns();
    }
    return false;
}

static int watch(struct top *top)
{
    uint64_t every_ns = (uint64_t)(top->args->every * (double)CF_NS_PER_S);
    bool ended = false;

    for (uint64_t count = 0; !ended; count++) {
        uint64_t begin_ns = cf_now_ns();

        if (!look(top))
            return EXIT_TROUBLE;
        /* Rates need two looks: the first prints nothing when it goes to a file. */
        if (top->args->count > 0 && count >= top->args->count)
            return EXIT_OK;
        ended = wait_for_end(top, begin_ns + every_ns);
    }
    return EXIT_OK;
}

static bool signals_take(struct top *top)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) != 0)
        return false;
    top->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return top->signal_fd >= 0;
}

static int watch_on_terminal(struct top *top)
{
    int status;

    initscr();
    cbreak();
    noecho();
    nodelay(stdscr, TRUE);
    curs_set(0);
    status = watch(top);
    endwin();
    return status;
}

int tool_top(int argc, char **argv)
{
    struct status_args args = {0};
    struct top top = {.args = &args, .signal_fd = -1, .before_ns = cf_now_ns()};
    enum cf_cli_result result;
    int status;

    cf_options_defaults(table, spec.table_count, &args);
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    if (!status_path(&args, top.path, sizeof(top.path), top.text, sizeof(top.text))) {
        fprintf(stderr, "cachefusion top: %s\n", top.text);
        return EXIT_USAGE;
    }
    top.is_terminal = isatty(STDOUT_FILENO) == 1 && isatty(STDIN_FILENO) == 1;
    if (!signals_take(&top)) {
        fprintf(stderr, "cachefusion top: signals: %s\n", strerror(errno));
        return EXIT_TROUBLE;
    }
    status = top.is_terminal ? watch_on_terminal(&top) : watch(&top);
    json_decref(top.before);
    close(top.signal_fd);
    if (status != EXIT_OK)
        fprintf(stderr, "cachefusion top: %s\n", top.text);
    return status;
}
