/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/journal.h"

#include <stdlib.h>

#include "grd/msg.h"

#define ULL(x) ((unsigned long long)(x))
#define ANY_BLOCK UINT64_MAX

struct entry {
    uint64_t now_ns;
    uint64_t block;
    const char *text; /* a note; NULL = a message */
    uint64_t request, tenure, held, version, durable;
    uint16_t from, to;
    uint16_t type;
    uint16_t requester;
    uint8_t mode, how, flags;
    uint8_t fate;
    uint8_t is_double;
    uint16_t set_count;
};

struct sim_journal {
    uint64_t count;
    uint32_t nodes;
    struct entry entries[SIM_JOURNAL_ENTRIES];
};

struct sim_journal *sim_journal_open(uint32_t nodes)
{
    struct sim_journal *journal = calloc(1, sizeof(*journal));

    if (journal != NULL)
        journal->nodes = nodes;
    return journal;
}

void sim_journal_close(struct sim_journal **journal)
{
    free(*journal);
    *journal = NULL;
}

static struct entry *entry_add(struct sim_journal *journal)
{
    return &journal->entries[journal->count++ % SIM_JOURNAL_ENTRIES];
}

void sim_journal_observe(void *arg, const struct sim_seen *seen)
{
    struct sim_journal *journal = arg;
    struct grd_msg msg = {0};

    if (!grd_msg_decode(seen->header->type, seen->body, seen->header->bytes, journal->nodes, &msg))
        return;
    *entry_add(journal) = (struct entry){.now_ns = seen->now_ns,
                                         .block = msg.key.block,
                                         .request = msg.request,
                                         .tenure = msg.tenure,
                                         .held = msg.held,
                                         .version = msg.version,
                                         .durable = msg.durable,
                                         .from = seen->from,
                                         .to = seen->to,
                                         .type = seen->header->type,
                                         .requester = msg.requester,
                                         .mode = msg.mode,
                                         .how = msg.how,
                                         .flags = msg.flags,
                                         .fate = (uint8_t)seen->fate,
                                         .is_double = seen->is_double,
                                         .set_count = msg.set.count};
}

void sim_journal_note(struct sim_journal *journal, uint64_t now_ns, uint64_t block, uint16_t node,
                      const char *text, uint64_t value)
{
    *entry_add(journal) = (struct entry){
        .now_ns = now_ns, .block = block, .from = node, .text = text, .version = value};
}

static void print(const struct entry *e, FILE *out)
{
    static const char *const fates[] = {"", " LOST", " DROPPED", " TORN"};

    if (e->text != NULL) {
        fprintf(out, "  %12llu node %u: %s %llx\n", ULL(e->now_ns), e->from, e->text, ULL(e->version));
        return;
    }
    fprintf(out,
            "  %12llu %u -> %u %s%s%s request %llu tenure %llu held %llu version %llu durable %llu mode %u "
            "how %u flags %u "
            "requester %u set %u\n",
            ULL(e->now_ns), e->from, e->to, grd_msg_name(e->type), e->is_double ? " (double)" : "",
            fates[e->fate], ULL(e->request), ULL(e->tenure), ULL(e->held), ULL(e->version), ULL(e->durable),
            e->mode, e->how, e->flags, e->requester, e->set_count);
}

void sim_journal_dump(const struct sim_journal *journal, uint64_t block, uint32_t max, FILE *out)
{
    uint64_t oldest = journal->count > SIM_JOURNAL_ENTRIES ? journal->count - SIM_JOURNAL_ENTRIES : 0;
    uint64_t first = journal->count;
    uint32_t found = 0;

    while (first > oldest && found < max) {
        const struct entry *e = &journal->entries[--first % SIM_JOURNAL_ENTRIES];

        found += block == ANY_BLOCK || e->block == block || e->block == ANY_BLOCK;
    }
    fprintf(out, "last messages%s (ns, sender -> receiver):\n", block == ANY_BLOCK ? "" : " about the block");
    for (; first < journal->count; first++) {
        const struct entry *e = &journal->entries[first % SIM_JOURNAL_ENTRIES];

        if (block == ANY_BLOCK || e->block == block || e->block == ANY_BLOCK)
            print(e, out);
    }
}
