/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t list_bytes(uint64_t nodes)
{
    return sizeof(struct eng_peer_list) + nodes * sizeof(const char *);
}

enum cf_rc eng_peers_check(const struct cf_options *options, struct cf_error *error)
{
    uint64_t count = 0;
    bool has_empty = false;

    if (options->peers[0] == '\0')
        return CF_OK;
    for (const char *at = options->peers; at != NULL; count++) {
        const char *comma = strchr(at, ',');

        has_empty = has_empty || *at == '\0' || comma == at;
        at = comma != NULL ? comma + 1 : NULL;
    }
    if (count == options->nodes && !has_empty)
        return CF_OK;
    if (error != NULL) {
        *error = (struct cf_error){.rc = CF_OPTION, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof error->text,
                 "option peers: '%.100s' %s; it is an address of each of the %" PRIu64
                 " nodes, in their order, by commas",
                 options->peers, has_empty ? "leaves one empty" : "names another number of them",
                 options->nodes);
    }
    return CF_OPTION;
}

enum cf_rc eng_peers_make(const struct cf_options *options, const struct cf_allocator *allocator,
                          struct eng_peer_list **list_out)
{
    struct eng_peer_list *list;
    uint64_t count = 0;
    char *save = NULL;

    *list_out = NULL;
    if (options->peers[0] == '\0')
        return CF_OK;
    list = cf_alloc(allocator, list_bytes(options->nodes), CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (list == NULL)
        return CF_MEMORY;
    memcpy(list->text, options->peers, sizeof list->text);
    for (char *at = strtok_r(list->text, ",", &save); at != NULL && count < options->nodes;
         at = strtok_r(NULL, ",", &save))
        list->address[count++] = at;
    *list_out = list;
    return CF_OK;
}

void eng_peers_free(struct eng_peer_list *list, uint64_t nodes, const struct cf_allocator *allocator)
{
    if (list != NULL)
        cf_free(allocator, list, list_bytes(nodes));
}

/* Of "host", "host:port" or "[address]:port": the bytes that name the host. An address with many colons has no port. */
static size_t host_bytes(const char *address)
{
    const char *colon = strchr(address, ':');

    if (address[0] == '[')
        return strcspn(address, "]");
    return colon != NULL && strchr(colon + 1, ':') == NULL ? (size_t)(colon - address) : strlen(address);
}

void eng_peers_hosts(const struct eng_peer_list *list, uint32_t nodes, uint16_t *hosts)
{
    for (uint32_t n = 0; n < nodes; n++) {
        const char *address = list != NULL ? list->address[n] : "";
        size_t bytes = host_bytes(address);
        uint32_t first = 0;

        while (
            list != NULL && first < n &&
            (host_bytes(list->address[first]) != bytes || memcmp(list->address[first], address, bytes) != 0))
            first++;
        hosts[n] = (uint16_t)first;
    }
}
