/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_cm of the device in memory: every exchange is an event in the other side's channel, at once. */
#include "tests/unit/transport/verbs_fake_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"

/* InfiniBand specification, reasons of REJ. */
#define REJECT_NO_LISTENER 8
#define REJECT_CONSUMER 28
#define DATA_BYTES 256u
#define LISTENERS_MAX 8u

struct fake_event {
    struct rdma_cm_event base;
    struct fake_event *next;
    uint8_t data[DATA_BYTES];
};

struct fake_channel {
    struct rdma_event_channel base;
    struct fake_event *first;
};

struct fake_id {
    struct rdma_cm_id base;
    struct fake_id *far; /* NULL: nobody, or no more */
    uint16_t port;       /* bound to, or the one to be reached */
    uint32_t number;     /* queue pair that was told to the other side */
    bool is_listening, is_connected;
};

static struct fake_id *bound[LISTENERS_MAX];

struct rdma_event_channel *verbs_fake_cm_create_channel(void)
{
    struct fake_channel *channel = verbs_fake.is_lost ? NULL : calloc(1, sizeof(*channel));

    if (channel == NULL) {
        errno = EIO;
        return NULL;
    }
    verbs_fake.living++;
    channel->base.fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    return &channel->base;
}

void verbs_fake_cm_destroy_channel(struct rdma_event_channel *base)
{
    struct fake_channel *channel = (struct fake_channel *)base;

    cf_assert(channel->first == NULL); /* all ids are gone, and their events with them */
    close(base->fd);
    verbs_fake.living--;
    free(channel);
}

static struct fake_id *id_make(struct rdma_event_channel *channel, void *context)
{
    struct fake_id *id = calloc(1, sizeof(*id));

    cf_assert(id != NULL);
    verbs_fake.living++;
    id->base.channel = channel;
    id->base.context = context;
    id->base.port_num = 1;
    id->base.verbs = verbs_fake_context();
    return id;
}

int verbs_fake_cm_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id_out, void *context)
{
    if (verbs_fake.is_lost) {
        errno = EIO;
        return -1;
    }
    *id_out = &id_make(channel, context)->base;
    return 0;
}

static struct fake_event *tell(struct fake_id *id, enum rdma_cm_event_type type, int status, const void *data,
                               uint8_t bytes)
{
    struct fake_channel *channel = (struct fake_channel *)id->base.channel;
    struct fake_event *event = calloc(1, sizeof(*event)), **at = &channel->first;
    uint64_t one = 1;

    cf_assert(event != NULL);
    event->base = (struct rdma_cm_event){.id = &id->base, .event = type, .status = status};
    if (bytes > 0) {
        memcpy(event->data, data, bytes);
        event->base.param.conn.private_data = event->data;
        event->base.param.conn.private_data_len = bytes;
    }
    while (*at != NULL)
        at = &(*at)->next;
    *at = event;
    cf_assert(write(channel->base.fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    return event;
}

int verbs_fake_cm_get_event(struct rdma_event_channel *base, struct rdma_cm_event **event)
{
    struct fake_channel *channel = (struct fake_channel *)base;
    struct fake_event *first = channel->first;
    uint64_t one;

    if (first == NULL) {
        errno = EAGAIN;
        return -1;
    }
    cf_assert(read(base->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    channel->first = first->next;
    *event = &first->base;
    return 0;
}

int verbs_fake_cm_ack_event(struct rdma_cm_event *event)
{
    free(event);
    return 0;
}

static void hang_up(struct fake_id *id)
{
    struct fake_id *far = id->far;

    if (far == NULL)
        return;
    far->far = NULL;
    id->far = NULL;
    if (id->is_connected && far->is_connected)
        tell(far, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, 0);
    else
        tell(far, RDMA_CM_EVENT_REJECTED, REJECT_CONSUMER, NULL, 0);
}

/* Events of the id that nobody has taken go with it; a request among them goes too, with the id it brought. */
int verbs_fake_cm_destroy_id(struct rdma_cm_id *base)
{
    struct fake_channel *channel = (struct fake_channel *)base->channel;
    struct fake_id *id = (struct fake_id *)base;

    hang_up(id);
    for (struct fake_event **at = &channel->first; *at != NULL;) {
        struct fake_event *event = *at;
        uint64_t one;

        if (event->base.id != base && event->base.listen_id != base) {
            at = &event->next;
            continue;
        }
        cf_assert(read(channel->base.fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
        *at = event->next;
        if (event->base.event == RDMA_CM_EVENT_CONNECT_REQUEST && event->base.id != base) {
            hang_up((struct fake_id *)event->base.id);
            verbs_fake.living--;
            free(event->base.id);
        }
        free(event);
    }
    for (uint32_t i = 0; i < LISTENERS_MAX; i++)
        if (bound[i] == id)
            bound[i] = NULL;
    verbs_fake.living--;
    free(id);
    return 0;
}

static uint16_t port_of(const struct sockaddr *address)
{
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static struct fake_id *listener_of(uint16_t port)
{
    for (uint32_t i = 0; i < LISTENERS_MAX; i++)
        if (bound[i] != NULL && bound[i]->port == port)
            return bound[i];
    return NULL;
}

int verbs_fake_cm_bind(struct rdma_cm_id *base, struct sockaddr *address)
{
    struct fake_id *id = (struct fake_id *)base;
    uint32_t i = 0;

    id->port = port_of(address);
    if (id->port != 0 && listener_of(id->port) != NULL) {
        errno = EADDRINUSE;
        return -1;
    }
    while (i < LISTENERS_MAX && bound[i] != NULL)
        i++;
    cf_assert(i < LISTENERS_MAX);
    bound[i] = id;
    return 0;
}

int verbs_fake_cm_listen(struct rdma_cm_id *base, int backlog)
{
    (void)backlog;
    ((struct fake_id *)base)->is_listening = true;
    return 0;
}

int verbs_fake_cm_resolve_addr(struct rdma_cm_id *base, struct sockaddr *from, struct sockaddr *to,
                               int timeout_ms)
{
    struct fake_id *id = (struct fake_id *)base;

    (void)from;
    (void)timeout_ms;
    id->port = port_of(to);
    tell(id, RDMA_CM_EVENT_ADDR_RESOLVED, 0, NULL, 0);
    return 0;
}

int verbs_fake_cm_resolve_route(struct rdma_cm_id *base, int timeout_ms)
{
    (void)timeout_ms;
    tell((struct fake_id *)base, RDMA_CM_EVENT_ROUTE_RESOLVED, 0, NULL, 0);
    return 0;
}

int verbs_fake_cm_connect(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
    struct fake_id *id = (struct fake_id *)base, *listener = listener_of(id->port), *guest;

    if (verbs_fake.is_lost) {
        errno = EIO;
        return -1;
    }
    id->number = param->qp_num;
    if (verbs_fake.is_cut)
        return 0; /* nobody answers */
    if (listener == NULL || !listener->is_listening || verbs_fake.rejected > 0) {
        verbs_fake.rejected -= verbs_fake.rejected > 0;
        tell(id, RDMA_CM_EVENT_REJECTED, listener != NULL ? REJECT_CONSUMER : REJECT_NO_LISTENER, NULL, 0);
        return 0;
    }
    guest = id_make(listener->base.channel, listener->base.context);
    guest->far = id;
    id->far = guest;
    tell(guest, RDMA_CM_EVENT_CONNECT_REQUEST, 0, param->private_data, param->private_data_len)
        ->base.listen_id = &listener->base;
    return 0;
}

int verbs_fake_cm_accept(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
    struct fake_id *id = (struct fake_id *)base;

    if (id->far == NULL) {
        errno = EINVAL;
        return -1;
    }
    id->number = param->qp_num;
    id->is_connected = true;
    tell(id->far, RDMA_CM_EVENT_CONNECT_RESPONSE, 0, param->private_data, param->private_data_len);
    return 0;
}

int verbs_fake_cm_reject(struct rdma_cm_id *base, const void *data, uint8_t bytes)
{
    struct fake_id *id = (struct fake_id *)base;

    if (id->far != NULL) {
        id->far->far = NULL;
        tell(id->far, RDMA_CM_EVENT_REJECTED, REJECT_CONSUMER, data, bytes);
    }
    id->far = NULL;
    return 0;
}

int verbs_fake_cm_establish(struct rdma_cm_id *base)
{
    struct fake_id *id = (struct fake_id *)base;

    if (id->far == NULL) {
        errno = EINVAL;
        return -1;
    }
    id->is_connected = true;
    tell(id->far, RDMA_CM_EVENT_ESTABLISHED, 0, NULL, 0);
    return 0;
}

int verbs_fake_cm_disconnect(struct rdma_cm_id *base)
{
    struct fake_id *id = (struct fake_id *)base;

    if (id->is_connected && id->far != NULL && !verbs_fake.is_cut)
        tell(id, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, 0);
    if (!verbs_fake.is_cut)
        hang_up(id);
    return 0;
}

int verbs_fake_cm_qp_attr(struct rdma_cm_id *base, struct ibv_qp_attr *attr, int *mask)
{
    const struct fake_id *id = (const struct fake_id *)base;

    *mask = IBV_QP_STATE;
    if (attr->qp_state == IBV_QPS_INIT) {
        attr->port_num = 1;
        *mask |= IBV_QP_PORT | IBV_QP_PKEY_INDEX | IBV_QP_ACCESS_FLAGS;
    } else if (attr->qp_state == IBV_QPS_RTR) {
        if (id->far == NULL) {
            errno = EINVAL;
            return -1;
        }
        attr->dest_qp_num = id->far->number;
        *mask |= IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
    }
    return 0;
}
