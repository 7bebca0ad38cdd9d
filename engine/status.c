/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of an instance as JSON. The owner of progress fills a bounded snapshot inside one turn; the text is made
 * from it by the thread that asked. A control thread answers a unix socket: one text a connection.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "engine/instance.h"
#include "engine/metrics.h"
#include "engine/pool.h"
#include "engine/status.h"

/* Conversations and waiters listed at most; the counts tell how many there are. */
/* What a transport may say of itself. */
#define PROVIDER_TEXT_BYTES 4096u
#define STATUS_LIST_MAX 256u
/* A reader that has not taken the whole text by then gets no more: others wait, and so does the end. */
#define STATUS_SEND_NS 2000000000ull

struct status_conv {
    struct cf_block_key key;
    uint8_t wants;
    bool is_granted;
    uint16_t master;
    uint32_t need, acks;
    uint64_t for_ns;
};

struct status_waiter {
    struct cf_block_key key;
    uint8_t mode;
    uint64_t for_ns;
};

struct snapshot {
    uint64_t now_ns, modes[3], past_images, kept, releases, demands;
    uint32_t convs_count, waiters_count, convs_total, waiters_total;
    struct status_conv convs[STATUS_LIST_MAX];
    struct status_waiter waiters[STATUS_LIST_MAX];
    struct {
        uint32_t bytes, total, free, dirty;
    } classes[CF_BLOCK_SIZES];
    bool up[CF_NODES_MAX];
};

static void take_waiter(struct snapshot *shot, const struct cf_block_key *key, struct cf_op *op)
{
    uint64_t began = eng_op_of(op)->started_ns;

    if (shot->waiters_count < STATUS_LIST_MAX)
        shot->waiters[shot->waiters_count++] = (struct status_waiter){
            *key, (uint8_t)(op->kind == CF_OP_UPGRADE ? CF_MODE_X : op->mode),
            shot->now_ns > began ? shot->now_ns - began : 0};
    shot->waiters_total++;
}

static void take_block(struct cf_instance *instance, struct snapshot *shot, const struct grd_block *block)
{
    const struct grd_conv *conv = grd_local_conv(instance->local, block);
    struct cf_op *op;

    shot->modes[block->mode]++;
    if (conv) {
        if (shot->convs_count < STATUS_LIST_MAX)
            shot->convs[shot->convs_count++] = (struct status_conv){block->key,
                                                                    conv->want,
                                                                    conv->is_granted,
                                                                    grd_local_master(instance->local, block),
                                                                    conv->need.count,
                                                                    conv->acks.count,
                                                                    shot->now_ns - conv->since_ns};
        shot->convs_total++;
    }
    for (op = block->waiter_first; op != NULL; op = eng_op_of(op)->next)
        take_waiter(shot, &block->key, op);
}

/* Those who wait for a frame or a conversation, and are in no block's queue. */
static void take_starved(struct cf_instance *instance, struct snapshot *shot)
{
    struct cf_block_key key;
    struct cf_op *op;

    for (op = instance->starved_first; op != NULL; op = eng_op_of(op)->next) {
        eng_key_of(op->file, op->block, &key);
        take_waiter(shot, &key, op);
    }
}

static void take(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct snapshot *shot = arg;
    uint32_t i, c;

    shot->now_ns = now_ns;
    for (i = 0; i < instance->local->blocks_count; i++)
        if (instance->local->blocks[i].in_use)
            take_block(instance, shot, &instance->local->blocks[i]);
    take_starved(instance, shot);
    for (i = 0; i < instance->nodes; i++)
        shot->up[i] = i == instance->node || instance->peers[i].state == ENG_PEER_UP;
    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        const struct eng_frame_class *class = &instance->frames->classes[c];

        shot->classes[c].bytes = class->bytes;
        shot->classes[c].total = class->count;
        shot->classes[c].free = class->free_count;
        for (i = 0; i < class->count; i++)
            shot->classes[c].dirty += (eng_frames_word(instance->frames, class->first + i) &
                                       ENG_WORD_DIRTY) != 0;
    }
    shot->past_images = instance->local->past_used;
    shot->kept = instance->local->kept_used;
    shot->releases = instance->local->releases_used;
    shot->demands = instance->local->demands_used;
}

/* ------------------------------------------------------------------ JSON */

static const char *mode_name(uint8_t mode)
{
    return mode == CF_MODE_X ? "X" : mode == CF_MODE_S ? "S" : "N";
}

static json_t *json_members(const struct cf_instance *instance, const struct snapshot *shot)
{
    json_t *list = json_array();
    uint32_t n;

    for (n = 0; n < instance->nodes; n++)
        json_array_append_new(list, json_pack("{s:i, s:b}", "node", (int)n, "up", (int)shot->up[n]));
    return list;
}

static json_t *json_counters(const struct cf_stats *stats)
{
    json_t *object = json_object();

#define CF_STAT(name, text) json_object_set_new(object, #name, json_integer((json_int_t)stats->name));
#define CF_LATENCY(name, text)
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    return object;
}

static json_t *json_latency(const struct cf_latency *latency)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)latency->count, "p50",
                     (json_int_t)latency->p50, "p99", (json_int_t)latency->p99, "p999",
                     (json_int_t)latency->p999, "max", (json_int_t)latency->max);
}

static json_t *json_latencies(const struct cf_stats *stats)
{
    json_t *object = json_object();

#define CF_STAT(name, text)
#define CF_LATENCY(name, text) json_object_set_new(object, #name, json_latency(&stats->name));
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    return object;
}

static json_t *json_frames(const struct snapshot *shot)
{
    json_t *object = json_object();
    char name[16];
    uint32_t c;

    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        if (shot->classes[c].total == 0)
            continue;
        snprintf(name, sizeof name, "%u", shot->classes[c].bytes);
        json_object_set_new(object, name,
                            json_pack("{s:I, s:I, s:I}", "total", (json_int_t)shot->classes[c].total, "free",
                                      (json_int_t)shot->classes[c].free, "dirty",
                                      (json_int_t)shot->classes[c].dirty));
    }
    return object;
}

static json_t *json_convs(const struct snapshot *shot)
{
    json_t *list = json_array();
    char waits_for[64];
    uint32_t i;

    for (i = 0; i < shot->convs_count; i++) {
        const struct status_conv *conv = &shot->convs[i];

        if (!conv->is_granted)
            snprintf(waits_for, sizeof waits_for, "the grant of master %u", conv->master);
        else if (conv->need > conv->acks)
            snprintf(waits_for, sizeof waits_for, "%u of %u sharers", conv->need - conv->acks, conv->need);
        else
            snprintf(waits_for, sizeof waits_for, "storage");
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:s, s:I, s:s}", "file", (json_int_t)conv->key.file,
                                        "block", (json_int_t)conv->key.block, "wants", mode_name(conv->wants),
                                        "for_ns", (json_int_t)conv->for_ns, "waits_for", waits_for));
    }
    return list;
}

static json_t *json_waiters(const struct snapshot *shot)
{
    json_t *list = json_array();
    uint32_t i;

    for (i = 0; i < shot->waiters_count; i++)
        json_array_append_new(
            list, json_pack("{s:I, s:I, s:s, s:I}", "file", (json_int_t)shot->waiters[i].key.file, "block",
                            (json_int_t)shot->waiters[i].key.block, "mode", mode_name(shot->waiters[i].mode),
                            "for_ns", (json_int_t)shot->waiters[i].for_ns));
    return list;
}

/* Name and value of each line the transport says of itself. */
static json_t *json_provider(const struct cf_instance *instance)
{
    char text[PROVIDER_TEXT_BYTES], *line, *rest = text;
    json_t *object = json_object();

    (void)xp_describe(instance->xp, text, sizeof text);
    text[sizeof text - 1] = 0;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *value = strchr(line, ' ');

        if (value == NULL)
            continue;
        *value++ = 0;
        json_object_set_new(object, line, json_string(value));
    }
    return object;
}

static json_t *json_state(const struct cf_instance *instance, const struct snapshot *shot,
                          const struct cf_stats *stats)
{
    json_t *root = json_object();

    json_object_set_new(root, "node", json_integer(instance->node));
    json_object_set_new(root, "incarnation", json_integer(instance->incarnation));
    json_object_set_new(root, "epoch", json_integer((json_int_t)instance->epoch));
    json_object_set_new(root, "state", json_string(cf_rc_name(eng_state(instance))));
    json_object_set_new(root, "uptime_ns", json_integer((json_int_t)(shot->now_ns - instance->opened_ns)));
    json_object_set_new(root, "placement", json_string(instance->plan.text));
    json_object_set_new(root, "transport", json_string(instance->options.transport));
    if (eng_metrics_where(instance) != NULL)
        json_object_set_new(root, "metrics", json_string(eng_metrics_where(instance)));
    json_object_set_new(root, "provider", json_provider(instance));
    json_object_set_new(root, "members", json_members(instance, shot));
    json_object_set_new(root, "counters", json_counters(stats));
    json_object_set_new(root, "latency", json_latencies(stats));
    json_object_set_new(root, "frames", json_frames(shot));
    json_object_set_new(root, "modes",
                        json_pack("{s:I, s:I, s:I}", "n", (json_int_t)shot->modes[0], "s",
                                  (json_int_t)shot->modes[1], "x", (json_int_t)shot->modes[2]));
    json_object_set_new(root, "kept_images", json_integer((json_int_t)shot->kept));
    json_object_set_new(root, "releases_unacknowledged", json_integer((json_int_t)shot->releases));
    json_object_set_new(root, "demands_waiting", json_integer((json_int_t)shot->demands));
    json_object_set_new(root, "conversations_total", json_integer(shot->convs_total));
    json_object_set_new(root, "waiters_total", json_integer(shot->waiters_total));
    json_object_set_new(root, "conversations", json_convs(shot));
    json_object_set_new(root, "waiters", json_waiters(shot));
    json_object_set_new(root, "hot", eng_status_hot(instance, shot->now_ns));
    return root;
}

enum cf_rc cf_status_write(struct cf_instance *instance,
                           void (*sink)(void *arg, const char *text, size_t bytes), void *arg)
{
    enum cf_rc rc = eng_enter(instance);
    struct cf_stats stats = {.size = sizeof stats};
    struct snapshot *shot;
    json_t *root;
    char *text;

    if (rc == CF_INVALID || rc == CF_FORKED)
        return rc;
    shot = calloc(1, sizeof *shot);
    if (shot == NULL)
        return CF_MEMORY;
    (void)eng_call_run(instance, take, shot);
    rc = cf_stats_read(instance, &stats);
    root = json_state(instance, shot, &stats);
    json_object_set_new(root, "waits", eng_detect_json(instance));
    text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    if (text == NULL)
        rc = CF_MEMORY;
    else
        sink(arg, text, strlen(text));
    free(text);
    json_decref(root);
    free(shot);
    return rc;
}

/* ------------------------------------------------------------------ the socket */

/* Commands come to a socket of their own, beside the one that tells the state to whoever connects. */
#define CONTROL_SUFFIX ".control"
#define CONTROL_BYTES_MAX 128u

struct status_server {
    struct cf_instance *instance;
    pthread_t thread;
    int listen_fd, control_fd, stop_fd;
    char path[CF_OPTION_STRING_BYTES];
    char control_path[CF_OPTION_STRING_BYTES + sizeof CONTROL_SUFFIX];
};

struct status_reader {
    int fd, stop_fd;
    uint64_t until_ns;
};

static void send_text(void *arg, const char *text, size_t bytes)
{
    const struct status_reader *reader = arg;

    while (bytes > 0) {
        struct pollfd ready[2] = {{reader->fd, POLLOUT, 0}, {reader->stop_fd, POLLIN, 0}};
        uint64_t now = cf_now_ns();
        ssize_t sent;

        if (now >= reader->until_ns ||
            (poll(ready, 2, (int)((reader->until_ns - now) / CF_NS_PER_MS) + 1) < 0 && errno != EINTR) ||
            ready[1].revents)
            return;
        sent = send(reader->fd, text, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (sent > 0) {
            text += sent;
            bytes -= (size_t)sent;
        }
    }
}

/* One command a connection, a line. */
static void control(struct status_server *server)
{
    struct status_reader reader = {.stop_fd = server->stop_fd, .until_ns = cf_now_ns() + STATUS_SEND_NS};
    char line[CONTROL_BYTES_MAX + 1], answer[320];
    size_t bytes = 0;

    reader.fd = accept4(server->control_fd, NULL, NULL, SOCK_CLOEXEC);
    while (reader.fd >= 0 && bytes < CONTROL_BYTES_MAX) {
        struct pollfd ready[2] = {{reader.fd, POLLIN, 0}, {reader.stop_fd, POLLIN, 0}};
        uint64_t now = cf_now_ns();
        ssize_t got;

        if (now >= reader.until_ns ||
            poll(ready, 2, (int)((reader.until_ns - now) / CF_NS_PER_MS) + 1) <= 0 || ready[1].revents)
            break;
        got = recv(reader.fd, line + bytes, CONTROL_BYTES_MAX - bytes, MSG_DONTWAIT);
        if (got <= 0)
            break;
        bytes += (size_t)got;
        line[bytes] = '\0';
        if (strchr(line, '\n') == NULL)
            continue;
        *strchr(line, '\n') = '\0';
        eng_control_line(server->instance, line, answer, sizeof answer);
        send_text(&reader, answer, strlen(answer));
        break;
    }
    if (reader.fd >= 0)
        close(reader.fd);
}

static void *server_main(void *arg)
{
    struct status_server *server = arg;

    for (;;) {
        struct pollfd ready[3] = {
            {server->listen_fd, POLLIN, 0}, {server->stop_fd, POLLIN, 0}, {server->control_fd, POLLIN, 0}};
        struct status_reader reader;

        if (poll(ready, 3, -1) < 0) {
            if (errno != EINTR)
                return NULL;
            continue;
        }
        if (ready[1].revents)
            return NULL;
        if (ready[2].revents & POLLIN)
            control(server);
        if (!(ready[0].revents & POLLIN))
            continue;
        reader.fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (reader.fd < 0)
            continue;
        reader.stop_fd = server->stop_fd;
        reader.until_ns = cf_now_ns() + STATUS_SEND_NS;
        (void)cf_status_write(server->instance, send_text, &reader);
        close(reader.fd);
    }
}

/* A socket that nobody answers was left by a process that died. What is no socket refuses as well, and is left alone. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat status;
    bool stale;
    int fd;

    if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    stale = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static int open_listener(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bool is_bound;
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    is_bound = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (!is_bound && errno == EADDRINUSE) {
        if (is_stale(&address) && unlink(path) == 0)
            is_bound = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
        else
            errno = EADDRINUSE;
    }
    /* Nobody can connect before it listens, so nobody does before the mode is set. */
    if (!is_bound || chmod(path, 0600) != 0 || listen(fd, 8) != 0) {
        int system = errno;

        if (is_bound)
            (void)unlink(path);
        close(fd);
        errno = system;
        return -1;
    }
    return fd;
}

enum cf_rc eng_status_start(struct cf_instance *instance, struct cf_error *error)
{
    struct status_server *server = calloc(1, sizeof *server);
    int rc;

    if (server == NULL)
        return CF_MEMORY;
    server->instance = instance;
    memcpy(server->path, instance->options.status_path, sizeof server->path);
    snprintf(server->control_path, sizeof server->control_path, "%s" CONTROL_SUFFIX, server->path);
    server->listen_fd = open_listener(server->path);
    server->control_fd = server->listen_fd < 0 ? -1 : open_listener(server->control_path);
    server->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (server->listen_fd < 0 || server->control_fd < 0 || server->stop_fd < 0) {
        eng_error_set(error, CF_SYSTEM, errno, instance->node, "status_path %.150s: %s", server->path,
                      strerror(errno));
        if (server->listen_fd >= 0)
            close(server->listen_fd);
        if (server->listen_fd >= 0)
            (void)unlink(server->path);
        if (server->control_fd >= 0)
            close(server->control_fd);
        if (server->control_fd >= 0)
            (void)unlink(server->control_path);
        if (server->stop_fd >= 0)
            close(server->stop_fd);
        free(server);
        return CF_SYSTEM;
    }
    rc = pthread_create(&server->thread, NULL, server_main, server);
    if (rc != 0) {
        eng_error_set(error, CF_SYSTEM, rc, instance->node, "the status thread could not be started");
        close(server->listen_fd);
        close(server->control_fd);
        close(server->stop_fd);
        (void)unlink(server->path);
        (void)unlink(server->control_path);
        free(server);
        return CF_SYSTEM;
    }
    pthread_setname_np(server->thread, "cf-status");
    instance->status = server;
    return CF_OK;
}

void eng_status_stop(struct cf_instance *instance)
{
    struct status_server *server = instance->status;
    uint64_t one = 1;

    if (server == NULL)
        return;
    if (write(server->stop_fd, &one, sizeof one) == sizeof one)
        pthread_join(server->thread, NULL);
    close(server->listen_fd);
    close(server->control_fd);
    close(server->stop_fd);
    (void)unlink(server->path);
    (void)unlink(server->control_path);
    free(server);
    instance->status = NULL;
}
