/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of whom a file is changed: they stop it, give up what they hold of it, say so until they hear how it ended,
 * and go on. The flow is drawn in file_op.c.
 */
#include "engine/instance.h"

#define FILE_FLAG_DROPPED 0x1u

static struct cf_file *file_of(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct cf_file *file = eng_file_of_key(instance, &msg->key);

    return file && !file->is_manual ? file : NULL;
}

static void tell_stopped(struct cf_instance *instance, const struct cf_block_key *key, uint16_t to,
                         uint64_t request)
{
    struct grd_msg msg = {.type = GRD_MSG_FILE_STOPPED, .key = *key, .request = request};

    eng_send_owner(instance, to, &msg);
}

void eng_file_go_tell(struct cf_instance *instance, const struct eng_file_end *end, uint16_t to)
{
    struct grd_msg msg = {.type = GRD_MSG_FILE_GO,
                          .key = {end->file, end->generation, 0},
                          .request = end->request,
                          .version = end->blocks,
                          .flags = end->is_dropped ? FILE_FLAG_DROPPED : 0};

    eng_send_owner(instance, to, &msg);
}

static void on_stop(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct cf_file *file = file_of(instance, msg);
    uint32_t stopped = file ? cf_peek_u32(&file->is_stopped) : 0;

    /*
     * Nothing of that generation is here; or it is an old question, since this instance holds the superblock. Whoever
     * still means it holds the superblock, and is answered with what it waits for.
     */
    if (file == NULL || file->format != CF_FORMAT_NATIVE ||
        msg->key.generation < cf_peek_u32(&file->generation) || stopped == ENG_FILE_DROPPED ||
        file == instance->file_held) {
        tell_stopped(instance, &msg->key, msg->from, msg->request);
        return;
    }
    if (stopped && file->stop_from == msg->from && file->stop_request == msg->request) {
        if (file->stop_told)
            tell_stopped(instance, &msg->key, msg->from, msg->request);
        return;
    }
    eng_file_stop_set(file, ENG_FILE_STOPPED);
    if (file->stop_from == CF_NODE_NONE)
        instance->files_stopping++;
    file->stop_from = msg->from;
    file->stop_request = msg->request;
    file->stop_told = false;
    file->stop_next_ns = now_ns;
}

static void on_go(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct cf_file *file = file_of(instance, msg);

    if (file == NULL || file->stop_from != msg->from || file->stop_request != msg->request)
        return;
    eng_file_generation_set(file, msg->key.generation);
    atomic_store_explicit(&file->blocks, msg->version, memory_order_relaxed);
    eng_file_unstop_owner(instance, file);
    /* Last, and release: who sees the file open again sees its new generation. */
    eng_file_stop_set(file, (msg->flags & FILE_FLAG_DROPPED) ? ENG_FILE_DROPPED : ENG_FILE_OPEN);
}

static void on_stopped(struct cf_instance *instance, const struct grd_msg *msg)
{
    const struct eng_file_end *end = &instance->file_ends[msg->request % ENG_FILE_ENDS];

    if (instance->file_changing && msg->request == instance->file_request)
        instance->peers[msg->from].file_stopped = msg->request;
    else if (end->request == msg->request && end->file == msg->key.file) /* it is over, and its GO was lost */
        eng_file_go_tell(instance, end, msg->from);
}

void eng_file_unstop_owner(struct cf_instance *instance, struct cf_file *file)
{
    if (file->stop_from == CF_NODE_NONE)
        return;
    file->stop_from = CF_NODE_NONE;
    instance->files_stopping--;
}

void eng_file_stop_message(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    if (msg->type == GRD_MSG_FILE_STOP)
        on_stop(instance, msg, now_ns);
    else if (msg->type == GRD_MSG_FILE_STOPPED)
        on_stopped(instance, msg);
    else
        on_go(instance, msg);
}

bool eng_file_stop_turn(struct cf_instance *instance, uint64_t now_ns)
{
    bool did = false;
    uint32_t i;

    for (i = 0; i < instance->options.files; i++) {
        struct cf_file *file = &instance->files[i];
        struct cf_block_key key = {.block = 0};
        uint32_t hand = 0;

        if (!file->in_use || file->stop_from == CF_NODE_NONE || now_ns < file->stop_next_ns)
            continue;
        did = true;
        /* Until the file is given up: often. Then, in case the GO is lost: at the pace of other repetitions. */
        file->stop_next_ns = now_ns + (file->stop_told ? instance->options.resend * 4 : ENG_FILE_LOOK_NS);
        if (!file->stop_told && eng_file_give_up_pass(instance, file, true, &hand, now_ns) != 0)
            continue;
        file->stop_told = true;
        key.file = file->id;
        key.generation = cf_peek_u32(&file->generation);
        tell_stopped(instance, &key, file->stop_from, file->stop_request);
    }
    return did;
}
