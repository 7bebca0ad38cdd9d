/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum cf_rc clients_open(struct clients *clients, const struct wl_plan *plan, struct cf_instance *instance,
                        struct cf_file *file, char *text, size_t text_bytes)
{
    enum cf_rc rc = CF_OK;

    memset(clients, 0, sizeof(*clients));
    clients->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    clients->client = calloc(plan->threads, sizeof(*clients->client));
    if (clients->ended_fd < 0 || clients->client == NULL)
        rc = CF_SYSTEM;
    for (; rc == CF_OK && clients->count < plan->threads; clients->count++) {
        struct wl_client *client = &clients->client[clients->count];

        rc = cf_session_open(instance, &client->session);
        if (rc != CF_OK)
            break;
        client->clients = clients;
        client->instance = instance;
        client->plan = plan;
        client->index = clients->count;
        client->file = file;
        client->stop = &clients->stop;
        cf_hist_init(&client->latency);
        cf_hist_init(&client->extra);
        cf_rng_seed(&client->rng, plan->seed + (uint64_t)plan->node * CLIENTS_MAX + client->index);
    }
    if (rc != CF_OK) {
        snprintf(text, text_bytes, "client %u: %s", clients->count, cf_rc_text(rc));
        clients_close(clients);
    }
    return rc;
}

static void *client_main(void *arg)
{
    struct wl_client *client = arg;
    struct clients *clients = client->clients;
    enum cf_rc rc = client->plan->workload->client(client);
    uint64_t one = 1;

    client->rc = rc;
    /* The counter cannot overflow: a client writes once. */
    if (rc != CF_OK && write(clients->ended_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        snprintf(client->error, sizeof(client->error), "eventfd refused a write");
    return NULL;
}

enum cf_rc clients_start(struct clients *clients, char *text, size_t text_bytes)
{
    for (; clients->started < clients->count; clients->started++) {
        int status = pthread_create(&clients->thread[clients->started], NULL, client_main,
                                    &clients->client[clients->started]);

        if (status != 0) {
            snprintf(text, text_bytes, "client thread %u: %s", clients->started, strerror(status));
            return CF_SYSTEM;
        }
    }
    return CF_OK;
}

void clients_stop(struct clients *clients)
{
    atomic_store_explicit(&clients->stop, true, memory_order_relaxed);
    for (; clients->started > 0; clients->started--)
        pthread_join(clients->thread[clients->started - 1], NULL);
}

void clients_close(struct clients *clients)
{
    for (uint32_t i = 0; i < clients->count; i++)
        cf_session_close(&clients->client[i].session);
    free(clients->client);
    if (clients->ended_fd >= 0)
        close(clients->ended_fd);
    memset(clients, 0, sizeof(*clients));
    clients->ended_fd = -1;
}

uint64_t clients_ops(const struct clients *clients)
{
    uint64_t ops = 0;

    for (uint32_t i = 0; i < clients->count; i++)
        ops += atomic_load_explicit(&clients->client[i].ops, memory_order_relaxed);
    return ops;
}

const struct wl_client *clients_failed(const struct clients *clients)
{
    for (uint32_t i = 0; i < clients->count; i++)
        if (clients->client[i].rc != CF_OK)
            return &clients->client[i];
    return NULL;
}
