/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_CLIENTS_H
#define TOOLS_CLIENTS_H

/* The client threads of one instance. */
#include <pthread.h>

#include "tools/workload/workload.h"

#define CLIENTS_MAX 64u

struct clients {
    uint32_t count;
    uint32_t started;
    int ended_fd;             /* eventfd: readable when a client ended by itself */
    _Atomic bool stop;        /* [atomic] relaxed: set once */
    struct wl_client *client; /* [count] */
    pthread_t thread[CLIENTS_MAX];
};

/* Opens a session for each client. On failure nothing is left behind and `text` says why. */
enum cf_rc clients_open(struct clients *clients, const struct wl_plan *plan, struct cf_instance *instance,
                        struct cf_file *file, char *text, size_t text_bytes);
enum cf_rc clients_start(struct clients *clients, char *text, size_t text_bytes);
/* Tells all to end and waits for them: for the call each is in, which its deadlines bound. */
void clients_stop(struct clients *clients);
void clients_close(struct clients *clients);

uint64_t clients_ops(const struct clients *clients);
/* The first client that ended with a failure, NULL when none did. After clients_stop. */
const struct wl_client *clients_failed(const struct clients *clients);

#endif
