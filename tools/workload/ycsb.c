/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ycsb-a to f: records with versions and checksums, several a block, keys by a zipfian distribution. Every record
 * read is checked; no client may see a record go back to an older version; the versions of all records
 * add up to the writes the clients remember.
 *
 * Inserts take keys in batches from the head and go behind the prepared records; the file is extended
 * when they reach its end, up to YCSB_BLOCKS_MAX, beyond which an insert becomes an update.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "tools/workload/table.h"
#include "tools/workload/workload.h"
#include "tools/workload/zipf.h"

#define YCSB_RECORD_BYTES 512u
#define YCSB_KEY_BATCH 64u
#define YCSB_SCAN_RECORDS_MAX 100u
#define YCSB_EXTEND_BLOCKS 1024u
#define YCSB_BLOCKS_MAX 65536u
/* Records whose last seen version a client remembers, by hash of the key. */
#define YCSB_SEEN_COUNT 4096u

enum { YCSB_WRITES = 0, YCSB_READS = 1, YCSB_ABSENT = 2, YCSB_INSERTS = 3 };
enum { YCSB_VERSIONS = 0 };

struct record {
    uint64_t key;
    uint64_t version;  /* 1 when inserted, one more a write; 0 = not there */
    uint32_t node;     /* of the last write */
    uint32_t checksum; /* CRC32C of the whole record with this field 0 */
    uint64_t payload[(YCSB_RECORD_BYTES - 24) / sizeof(uint64_t)];
};
_Static_assert(sizeof(struct record) == YCSB_RECORD_BYTES, "record");

/* Shares in percent; what is left of 100 is read. */
struct ycsb_mix {
    uint32_t updates, inserts, scans, read_modify_writes;
    bool reads_latest;
    uint32_t own; /* of 100 keys, those of the instance's own part; 0 = there are no parts */
};

struct ycsb {
    struct wl_client *client;
    const struct ycsb_mix *mix;
    struct zipf zipf;
    uint64_t blocks;           /* of the file, as last seen */
    uint64_t next_key;         /* of the head, as last seen */
    uint64_t batch, batch_end; /* keys taken for inserts */
    struct {
        uint64_t key, version;
    } seen[YCSB_SEEN_COUNT];
};

static uint64_t records_a_block(const struct wl_plan *plan)
{
    return plan->data_bytes / YCSB_RECORD_BYTES;
}

static uint64_t ycsb_blocks_used(const struct wl_plan *plan)
{
    const struct ycsb_mix *mix = plan->workload->variant;

    return mix->inserts > 0 ? plan->blocks - plan->blocks / 4 : plan->blocks;
}

static uint64_t records_prepared(const struct wl_plan *plan)
{
    return (ycsb_blocks_used(plan) - 1) * records_a_block(plan);
}

static uint32_t record_checksum(const struct record *record)
{
    uint32_t crc = cf_crc32c(0, record, offsetof(struct record, checksum));

    return cf_crc32c(crc, record->payload, sizeof(record->payload));
}

static void record_write(struct record *record, uint64_t key, uint32_t node)
{
    record->key = key;
    record->version++;
    record->node = node;
    for (size_t i = 0; i < sizeof(record->payload) / sizeof(record->payload[0]); i++)
        record->payload[i] = key ^ (record->version << 20) ^ i;
    record->checksum = record_checksum(record);
}

static bool record_is_good(const struct record *record, uint64_t key)
{
    if (record->version == 0)
        return record->key == 0 && record->checksum == 0;
    return record->key == key && record->checksum == record_checksum(record);
}

static void ycsb_format(const struct wl_plan *plan, uint64_t block, void *data)
{
    struct record *records = data;

    for (uint64_t i = 0; i < records_a_block(plan); i++)
        record_write(&records[i], (block - 1) * records_a_block(plan) + i, plan->node);
}

static void ycsb_inspect(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums)
{
    const struct record *records = data;

    for (uint64_t i = 0; i < records_a_block(plan); i++) {
        uint64_t key = (block - 1) * records_a_block(plan) + i;

        if (!record_is_good(&records[i], key))
            wl_bad(sums, "record %llu in block %llu: key %llu, version %llu, checksum %08x, expected %08x",
                   (unsigned long long)key, (unsigned long long)block, (unsigned long long)records[i].key,
                   (unsigned long long)records[i].version, records[i].checksum, record_checksum(&records[i]));
        sums->items += records[i].version > 0;
        sums->value[YCSB_VERSIONS] += records[i].version;
    }
}

/* Checks a record under a hold: whole, and not older than this client has seen it. */
static enum cf_rc check(struct ycsb *ycsb, const struct record *record, uint64_t key)
{
    uint32_t slot = (uint32_t)(key % YCSB_SEEN_COUNT);

    if (!record_is_good(record, key))
        return wl_fail(ycsb->client, CF_CORRUPT, "record %llu has a wrong checksum", (unsigned long long)key);
    if (ycsb->seen[slot].key == key && record->version < ycsb->seen[slot].version)
        return wl_fail(ycsb->client, CF_CORRUPT, "record %llu went back from version %llu to %llu",
                       (unsigned long long)key, (unsigned long long)ycsb->seen[slot].version,
                       (unsigned long long)record->version);
    ycsb->seen[slot].key = key;
    ycsb->seen[slot].version = record->version;
    ycsb->client->tally[YCSB_READS]++;
    ycsb->client->tally[YCSB_ABSENT] += record->version == 0;
    return CF_OK;
}

static uint64_t block_of(const struct ycsb *ycsb, uint64_t key)
{
    return 1 + key / records_a_block(ycsb->client->plan);
}

static struct record *record_in(const struct ycsb *ycsb, struct cf_ref *ref, uint64_t key)
{
    return (struct record *)ref->data + key % records_a_block(ycsb->client->plan);
}

static enum cf_rc read_record(struct ycsb *ycsb, uint64_t key)
{
    struct cf_ref ref;
    enum cf_rc rc = wl_get(ycsb->client, block_of(ycsb, key), CF_MODE_S, 0, &ref);

    if (rc != CF_OK)
        return rc;
    rc = check(ycsb, record_in(ycsb, &ref, key), key);
    cf_put(ycsb->client->session, &ref);
    return rc;
}

/* Ends a hold in X with a new version of the record. */
static enum cf_rc write_held(struct ycsb *ycsb, struct cf_ref *ref, uint64_t key)
{
    struct record *record = record_in(ycsb, ref, key);
    enum cf_rc rc = check(ycsb, record, key);

    if (rc != CF_OK) {
        cf_put(ycsb->client->session, ref);
        return rc;
    }
    record_write(record, key, ycsb->client->plan->node);
    ycsb->seen[key % YCSB_SEEN_COUNT].version = record->version;
    rc = wl_commit(ycsb->client, ref);
    ycsb->client->tally[YCSB_WRITES] += rc == CF_OK;
    return rc;
}

static enum cf_rc update(struct ycsb *ycsb, uint64_t key)
{
    struct cf_ref ref;
    enum cf_rc rc = wl_get(ycsb->client, block_of(ycsb, key), CF_MODE_X, 0, &ref);

    return rc == CF_OK ? write_held(ycsb, &ref, key) : rc;
}

static enum cf_rc read_modify_write(struct ycsb *ycsb, uint64_t key)
{
    struct cf_ref ref;
    bool changed;
    enum cf_rc rc = wl_get(ycsb->client, block_of(ycsb, key), CF_MODE_S, 0, &ref);

    if (rc != CF_OK)
        return rc;
    rc = check(ycsb, record_in(ycsb, &ref, key), key);
    if (rc != CF_OK) {
        cf_put(ycsb->client->session, &ref);
        return rc;
    }
    rc = wl_upgrade(ycsb->client, &ref, &changed);
    return rc == CF_OK ? write_held(ycsb, &ref, key) : rc;
}

/* A new batch of keys out of the head, or with none to take a look at how far they have come. */
static enum cf_rc take_keys(struct ycsb *ycsb, uint32_t count)
{
    struct wl_head *head;
    struct cf_ref ref;
    enum cf_rc rc = wl_get(ycsb->client, WL_HEAD_BLOCK, count > 0 ? CF_MODE_X : CF_MODE_S, 0, &ref);

    if (rc != CF_OK)
        return rc;
    head = ref.data;
    ycsb->next_key = head->next_key > 0 ? head->next_key : records_prepared(ycsb->client->plan);
    if (count == 0) {
        cf_put(ycsb->client->session, &ref);
        return CF_OK;
    }
    ycsb->batch = ycsb->next_key;
    ycsb->batch_end = ycsb->batch + count;
    ycsb->next_key = ycsb->batch_end;
    head->next_key = ycsb->batch_end;
    return wl_commit(ycsb->client, &ref);
}

static enum cf_rc extend_to(struct ycsb *ycsb, uint64_t block)
{
    struct cf_file_info info = {.size = sizeof(info)};
    enum cf_rc rc = CF_OK;

    if (block < ycsb->blocks)
        return CF_OK;
    rc = cf_file_info(ycsb->client->session, ycsb->client->file, &info);
    if (rc == CF_OK && block >= info.blocks)
        rc = cf_extend(ycsb->client->session, ycsb->client->file, block + YCSB_EXTEND_BLOCKS);
    if (rc == CF_OK)
        rc = cf_file_info(ycsb->client->session, ycsb->client->file, &info);
    if (rc != CF_OK)
        return wl_fail(ycsb->client, rc, "extend to block %llu: %s", (unsigned long long)block,
                       cf_rc_text(rc));
    ycsb->blocks = info.blocks;
    return CF_OK;
}

static enum cf_rc insert(struct ycsb *ycsb)
{
    enum cf_rc rc = CF_OK;
    uint64_t key;

    if (ycsb->batch == ycsb->batch_end) {
        if (block_of(ycsb, ycsb->next_key + YCSB_KEY_BATCH) >= YCSB_BLOCKS_MAX)
            return update(ycsb, zipf_key(&ycsb->zipf, &ycsb->client->rng));
        rc = take_keys(ycsb, YCSB_KEY_BATCH);
    }
    if (rc != CF_OK)
        return rc;
    key = ycsb->batch++;
    rc = extend_to(ycsb, block_of(ycsb, key));
    if (rc != CF_OK)
        return rc;
    rc = update(ycsb, key);
    ycsb->client->tally[YCSB_INSERTS] += rc == CF_OK;
    return rc;
}

static uint64_t key_latest(struct ycsb *ycsb)
{
    uint64_t back = zipf_rank(&ycsb->zipf, &ycsb->client->rng);

    return ycsb->next_key - 1 - (back < ycsb->next_key ? back : 0);
}

static enum cf_rc read_latest(struct ycsb *ycsb)
{
    uint64_t key = key_latest(ycsb);
    enum cf_rc rc = extend_to(ycsb, block_of(ycsb, key));

    return rc == CF_OK ? read_record(ycsb, key) : rc;
}

static enum cf_rc scan(struct ycsb *ycsb)
{
    const struct wl_plan *plan = ycsb->client->plan;
    uint64_t key = zipf_key(&ycsb->zipf, &ycsb->client->rng);
    uint64_t end = key + 1 + cf_rng_below(&ycsb->client->rng, YCSB_SCAN_RECORDS_MAX);
    enum cf_rc rc = CF_OK;

    if (end > records_prepared(plan))
        end = records_prepared(plan);
    cf_prefetch(ycsb->client->session, ycsb->client->file, block_of(ycsb, key),
                (uint32_t)(block_of(ycsb, end - 1) - block_of(ycsb, key) + 1));
    while (rc == CF_OK && key < end) {
        struct cf_ref ref;
        uint64_t block = block_of(ycsb, key);

        rc = wl_get(ycsb->client, block, CF_MODE_S, 0, &ref);
        if (rc != CF_OK)
            break;
        for (; rc == CF_OK && key < end && block_of(ycsb, key) == block; key++)
            rc = check(ycsb, record_in(ycsb, &ref, key), key);
        cf_put(ycsb->client->session, &ref);
    }
    return rc;
}

/* Every nodes-th block is an instance's own part. Uniform: so that no cache holds what counts. */
static enum cf_rc operate_on_parts(struct ycsb *ycsb)
{
    const struct wl_plan *plan = ycsb->client->plan;
    struct cf_rng *rng = &ycsb->client->rng;
    uint64_t each = (ycsb_blocks_used(plan) - 1) / plan->nodes;
    uint64_t part = cf_rng_below(rng, 100) < ycsb->mix->own ? plan->node : cf_rng_below(rng, plan->nodes);
    uint64_t key = (cf_rng_below(rng, each) * plan->nodes + part) * records_a_block(plan) +
                   cf_rng_below(rng, records_a_block(plan));

    return cf_rng_below(rng, 100) < ycsb->mix->updates ? update(ycsb, key) : read_record(ycsb, key);
}

static enum cf_rc operate(struct ycsb *ycsb)
{
    const struct ycsb_mix *mix = ycsb->mix;
    uint32_t dice = (uint32_t)cf_rng_below(&ycsb->client->rng, 100);

    if (dice < mix->updates)
        return update(ycsb, zipf_key(&ycsb->zipf, &ycsb->client->rng));
    dice -= mix->updates;
    if (dice < mix->inserts)
        return insert(ycsb);
    dice -= mix->inserts;
    if (dice < mix->scans)
        return scan(ycsb);
    dice -= mix->scans;
    if (dice < mix->read_modify_writes)
        return read_modify_write(ycsb, zipf_key(&ycsb->zipf, &ycsb->client->rng));
    if (mix->reads_latest)
        return read_latest(ycsb);
    return read_record(ycsb, zipf_key(&ycsb->zipf, &ycsb->client->rng));
}

static enum cf_rc ycsb_client(struct wl_client *client)
{
    struct ycsb *ycsb = calloc(1, sizeof(*ycsb));
    enum cf_rc rc;

    if (ycsb == NULL)
        return wl_fail(client, CF_MEMORY, "no memory for a client");
    ycsb->client = client;
    ycsb->mix = client->plan->workload->variant;
    zipf_init(&ycsb->zipf, records_prepared(client->plan));
    rc = take_keys(ycsb, 0);
    for (uint64_t count = 1; rc == CF_OK && !wl_stopped(client); count++) {
        uint64_t started_ns = cf_now_ns();

        rc = ycsb->mix->own != 0 ? operate_on_parts(ycsb) : operate(ycsb);
        if (rc == CF_OK && ycsb->mix->reads_latest && count % YCSB_KEY_BATCH == 0)
            rc = take_keys(ycsb, 0);
        if (rc == CF_OK)
            wl_done(client, started_ns);
    }
    free(ycsb);
    return rc;
}

static bool ycsb_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    const struct wl_sums *before = evidence->before, *after = evidence->after;
    uint64_t prepared = before->items == 0 ? records_prepared(evidence->plan) : 0;
    uint64_t written = after->value[YCSB_VERSIONS] - before->value[YCSB_VERSIONS] - prepared;

    if (evidence->tally != NULL && written != evidence->tally[YCSB_WRITES]) {
        snprintf(text, text_bytes, "the records' versions rose by %llu, the clients wrote %llu times",
                 (unsigned long long)written, (unsigned long long)evidence->tally[YCSB_WRITES]);
        return false;
    }
    snprintf(text, text_bytes, "%llu records are whole, their versions rose by %llu, one for each write",
             (unsigned long long)after->items, (unsigned long long)written);
    return true;
}

#define YCSB(letter, words, ...) YCSB_NAMED(ycsb_##letter, "ycsb-" #letter, words, __VA_ARGS__)
#define YCSB_NAMED(id, title, words, ...)                  \
    static const struct ycsb_mix mix_##id = {__VA_ARGS__}; \
    const struct workload workload_##id = {                \
        .name = title,                                     \
        .summary = words,                                  \
        .op = "operations",                                \
        .timed = "one operation",                          \
        .blocks_min = 8,                                   \
        .blocks_default = 2048,                            \
        .variant = &mix_##id,                              \
        .blocks_used = ycsb_blocks_used,                   \
        .format = ycsb_format,                             \
        .inspect = ycsb_inspect,                           \
        .client = ycsb_client,                             \
        .judge = ycsb_judge,                               \
    }

YCSB(a, "zipfian records: half reads, half updates", .updates = 50);
YCSB(b, "zipfian records: 95 % reads, 5 % updates", .updates = 5);
YCSB(c, "zipfian records: reads only", .updates = 0);
YCSB(d, "the latest records: 95 % reads, 5 % inserts", .inserts = 5, .reads_latest = true);
YCSB(e, "zipfian records: 95 % short scans, 5 % inserts", .scans = 95, .inserts = 5);
YCSB(f, "zipfian records: half reads, half read-modify-writes by upgrade", .read_modify_writes = 50);
YCSB_NAMED(affinity, "affinity",
           "uniform records, half reads, half updates: 98 % in the instance's own part of the blocks",
           .updates = 50, .own = 98);
