/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FILE_H
#define ENGINE_FILE_H

/*
 * Files of an instance. A file has a slot while it is attached (file_slot.c); the superblock says what all instances
 * agree on (file_super.c). [own] and the other tags: instance.h.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#include "base/compiler.h"
#include "engine/format.h"

struct eng_store_file;
struct grd_msg;

/* Between two looks of who waits for blocks to go. */
#define ENG_FILE_LOOK_NS 500000ull
#define ENG_FILE_PATH_BYTES 256u

enum eng_file_stop {
    ENG_FILE_OPEN = 0,
    ENG_FILE_STOPPED /* a change of the file is under way */,
    ENG_FILE_DROPPED
};

/* How a change of a file ended; told again to members that have not heard it. */
struct eng_file_end {
    uint64_t request; /* 0 = none */
    uint64_t blocks;
    uint32_t file;
    uint32_t generation;
    bool is_dropped;
};
/* A member asks again after a few milliseconds: more changes than this are not made meanwhile. */
#define ENG_FILE_ENDS 64u

struct cf_file {
    struct cf_instance *instance;
    uint32_t slot;               /* [const] in instance->files */
    uint32_t id;                 /* [const] */
    uint32_t block_bytes;        /* [const] */
    uint32_t class_index;        /* [const] frames it uses */
    _Atomic uint64_t *hit_name;  /* [const] pointer, into the guard */
    uint64_t hash;               /* [const] its part of a block's hash */
    uint32_t header_bytes;       /* [const] 64 native, 0 foreign */
    uint32_t data_bytes;         /* [const] block_bytes less the header */
    enum cf_format format;       /* [const] */
    bool read_only;              /* [const] */
    bool is_manual;              /* [const] attached by eng_attach_manual: no superblock */
    bool is_entered;             /* the superblock names this instance; whoever attaches and detaches */
    bool is_reserved;            /* [lk:lock] the slot is taken */
    bool in_use;                 /* [own] known to the progress loop */
    _Atomic uint32_t generation; /* [atomic] changed by file operations */
    _Atomic uint64_t blocks;     /* [atomic] length as last seen in the superblock */
    _Atomic uint32_t is_stopped; /* [atomic] enum eng_file_stop: unless it is open, gets answer CF_STALE */
    uint16_t stop_from;    /* [own] a peer changes the file and asked to stop it; CF_NODE_NONE = nobody */
    bool stop_told;        /* [own] it was told that nothing of the file is held here */
    bool is_given_up;      /* [own] this instance gives its blocks up, of its own accord */
    uint64_t stop_request; /* [own] number of that change */
    uint64_t stop_next_ns; /* [own] next look */
    uint64_t bytes;        /* [const] foreign: length */
    struct eng_store_file *store_file; /* [const] */
    struct cf_foreign foreign;         /* [const] size 0 = none */
    char path[ENG_FILE_PATH_BYTES];    /* [const] */
};

static inline void eng_key_of(const struct cf_file *file, uint64_t block, struct cf_block_key *key_out)
{
    key_out->file = file->id;
    key_out->generation = block == ENG_SUPER_BLOCK
                              ? 0
                              : atomic_load_explicit(&file->generation, memory_order_relaxed);
    key_out->block = block;
}

/* ---- file.c ---- */
/* Of an instance that closes: writes what is left and leaves the superblocks; copies stay. The first that failed. */
enum cf_rc eng_files_close_all(struct cf_session *session);

/* ---- file_slot.c ---- */
/* Owner. NULL: no file of that id is attached. */
struct cf_file *eng_file_of_key(struct cf_instance *instance, const struct cf_block_key *key);
/* Sets what a hit needs of a file, by its instance, slot and id. */
void eng_file_hit_init(struct cf_file *file);
/* Change a file's generation, which is seen when it is next open; and whether it is. One thread at a time does either. */
void eng_file_generation_set(struct cf_file *file, uint32_t generation);
void eng_file_stop_set(struct cf_file *file, enum eng_file_stop stop);
/* The session's thread, all of these. */
/* A free slot, reserved by its id. Ids and paths are unique on an instance; else the session's error says why not. */
CF_CHECK enum cf_rc eng_file_reserve(struct cf_session *session, const struct cf_file_options *options,
                                     struct cf_file **file_out);
/* The progress loop knows the file from now on. */
void eng_file_publish(struct cf_instance *instance, struct cf_file *file);
/* Nothing of the file is here any more, or the instance has stopped. */
void eng_file_release(struct cf_instance *instance, struct cf_file *file);

/* ---- file_super.c: the superblock, a block of the protocol. The session's thread ---- */
/* Block size and id stand in the file, and never change: a plain look at its first bytes. Sets the sizes of blocks. */
CF_CHECK enum cf_rc eng_super_look(struct cf_session *session, struct cf_file *file,
                                   const struct cf_file_options *options);
/* Enters this instance, in X and durably; takes length and generation over. */
CF_CHECK enum cf_rc eng_super_enter(struct cf_session *session, struct cf_file *file, bool accept_loss);
CF_CHECK enum cf_rc eng_super_leave(struct cf_session *session, struct cf_file *file);
/* Reads the length of a file again, when another instance may have extended it. */
CF_CHECK enum cf_rc eng_file_refresh(struct cf_session *session, struct cf_file *file, uint64_t deadline_ns);

/* ---- file_give.c: the session's thread, but for the owner's two ---- */
/* Writes and gives up every block of the file but the superblock, past images included; CF_BUSY: references are held. */
enum cf_rc eng_file_give_up_data(struct cf_session *session, struct cf_file *file);
/* The same, the superblock included. */
enum cf_rc eng_file_give_up(struct cf_session *session, struct cf_file *file);
/* As eng_file_give_up_data, of a file that stays and is stopped everywhere. */
enum cf_rc eng_file_give_up_stopped(struct cf_session *session, struct cf_file *file, uint64_t deadline_ns);
/* Nothing of the file is under way, and what this instance changed is on storage; its copies stay. */
enum cf_rc eng_file_settle(struct cf_session *session, struct cf_file *file);
/* Lets the engine work for a moment. */
void eng_file_let_work(struct cf_session *session);
/*
 * A look of the owner at the file's blocks, from record *hand on; returns how many are still held or under way.
 * `spare_super`: that one may stay. Once no more can be released it ends early, and what it returns is not 0.
 */
uint32_t eng_file_give_up_pass(struct cf_instance *instance, const struct cf_file *file, bool spare_super,
                               uint32_t *hand, uint64_t now_ns);
/* RECALL asks what is here of a block. Where its file is being given up the copy goes first, if it can. Owner. */
void eng_file_asked_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns);

/* ---- file_stop.c: truncate and drop over all members, by those who are asked. Owner ---- */
void eng_file_stop_message(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns);
bool eng_file_stop_turn(struct cf_instance *instance, uint64_t now_ns);
/* How this instance's change of a file has ended. */
void eng_file_go_tell(struct cf_instance *instance, const struct eng_file_end *end, uint16_t to);
/* The file is not stopped by a peer any more, or goes. */
void eng_file_unstop_owner(struct cf_instance *instance, struct cf_file *file);

#endif
