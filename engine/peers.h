/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PEERS_H
#define ENGINE_PEERS_H

/* The option `peers`: an address of each node, in their order, as the transport takes them. */
#include <stdint.h>

#include <cachefusion/options.h>

#include "base/alloc.h"
#include "base/compiler.h"

/* Addresses of all nodes, and the text they point into. */
struct eng_peer_list {
    char text[CF_OPTION_STRING_BYTES];
    const char *address[];
};

/* CF_OPTION: as many as there are nodes, none of them empty; or the option is not given. */
CF_CHECK enum cf_rc eng_peers_check(const struct cf_options *options, struct cf_error *error);
/* *list_out is NULL when the option is not given. The options have been checked. CF_MEMORY. */
CF_CHECK enum cf_rc eng_peers_make(const struct cf_options *options, const struct cf_allocator *allocator,
                                   struct eng_peer_list **list_out);
void eng_peers_free(struct eng_peer_list *list, uint64_t nodes, const struct cf_allocator *allocator);
/* A number for each node, the same for those whose addresses name one host; without a list all are on this host. */
void eng_peers_hosts(const struct eng_peer_list *list, uint32_t nodes, uint16_t *hosts);

#endif
