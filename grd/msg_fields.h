/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MSG_FIELDS_H
#define GRD_MSG_FIELDS_H

/*
 * The fields of each message in wire order: F(width, member) with width u8, u16, u32, u64, key, set, text, name or
 * words, and what has a fixed width before what has not. The body has no padding. docs/reference/messages.md is made from
 * this file and msg.def.
 */
/* clang-format off */
#define GRD_FIELDS_REQUEST(F) F(key, key) F(u64, request) F(u64, held) F(u32, place) F(u8, mode) F(u8, flags)
#define GRD_FIELDS_GRANT(F)                                                                                         \
    F(key, key) F(u64, request) F(u64, tenure) F(u64, version) F(u64, durable) F(u8, mode) F(u8, how) F(set, set)
#define GRD_FIELDS_FORWARD(F)                                                                                       \
    F(key, key) F(u64, request) F(u64, tenure) F(u64, held) F(u16, requester) F(u8, mode) F(set, set)
#define GRD_FIELDS_SHIP(F)                                                                                          \
    F(key, key) F(u64, request) F(u64, tenure) F(u64, version) F(u64, durable) F(u32, checksum) F(u8, mode)         \
        F(u8, flags) F(u8, hops) F(set, set)
#define GRD_FIELDS_INVALIDATE(F) F(key, key) F(u64, request) F(u64, tenure) F(u64, held) F(u16, requester)
#define GRD_FIELDS_INVALIDATED(F) F(key, key) F(u64, request) F(u64, tenure) F(u64, held)
#define GRD_FIELDS_INSTALLED(F) F(key, key) F(u64, request) F(u64, tenure) F(u64, version) F(u64, durable)
#define GRD_FIELDS_RELEASE(F) \
    F(key, key) F(u64, tenure) F(u64, version) F(u64, durable) F(u64, number) F(u16, behind)
#define GRD_FIELDS_RELEASED(F) F(key, key) F(u64, tenure)
#define GRD_FIELDS_NOT_HELD(F) \
    F(key, key) F(u64, request) F(u64, tenure) F(u64, held) F(u64, number) F(u16, behind) F(u16, requester)
#define GRD_FIELDS_WRITTEN(F) F(key, key) F(u64, tenure) F(u64, durable)
#define GRD_FIELDS_DISCARD(F) F(key, key) F(u64, durable)
#define GRD_FIELDS_PROBE(F) F(key, key) F(u64, request) F(u64, tenure)
#define GRD_FIELDS_CONFIRMED(F) F(key, key) F(u64, tenure)
#define GRD_FIELDS_KEPT(F) F(key, key) F(u64, tenure) F(u16, requester)
#define GRD_FIELDS_BOUNCE(F) F(key, key) F(u64, request)
#define GRD_FIELDS_WRITE_ASK(F) F(key, key) F(u64, version)
#define GRD_FIELDS_WRITE(F) F(key, key) F(u64, version)
#define GRD_FIELDS_PAST(F) F(key, key) F(u64, version)
#define GRD_FIELDS_WHERE(F) F(key, key) F(u64, request)
#define GRD_FIELDS_LOOK(F) F(key, key) F(u64, request) F(u16, requester)
#define GRD_FIELDS_THERE(F)                                                                                         \
    F(key, key) F(u64, request) F(u64, version) F(u64, word) F(u64, offset) F(u32, frame) F(u8, how)
#define GRD_FIELDS_RECALL(F) F(key, key) F(u64, request)
#define GRD_FIELDS_HELD(F)                                                                                          \
    F(key, key) F(u64, request) F(u64, tenure) F(u64, version) F(u64, durable) F(u64, held) F(u64, number)          \
        F(u16, behind) F(u8, mode) F(u8, flags)
#define GRD_FIELDS_MOVE_OFFER(F) F(u32, bucket) F(u32, place)
#define GRD_FIELDS_MOVE_ACCEPT(F) F(u32, bucket) F(u32, place) F(u8, how)
#define GRD_FIELDS_MOVE_TAKE(F) F(u64, tenure) F(u32, bucket) F(u32, place)
#define GRD_FIELDS_MOVED(F) F(u32, bucket) F(u32, place) F(u16, requester)
#define GRD_FIELDS_MOVE_ENTRY(F)                                                                                    \
    F(key, key) F(u64, request) F(u64, tenure) F(u64, version) F(u64, durable) F(u32, place) F(u8, how) F(words, words)
#define GRD_FIELDS_MOVE_ASK(F) F(key, key) F(u64, request) F(u32, place)
#define GRD_FIELDS_MOVE_GOT(F) F(key, key) F(u32, place)
#define GRD_FIELDS_MOVE_DONE(F) F(u32, bucket) F(u32, place) F(u8, flags)
#define GRD_FIELDS_MOVE_OVER(F) F(u32, bucket) F(u32, place)
#define GRD_FIELDS_MOVE_WHERE(F) F(u32, bucket)
#define GRD_FIELDS_MOVE_WISH(F) F(u32, bucket) F(u16, requester)
#define GRD_FIELDS_MOVE_ORDER(F) \
    F(u64, request) F(u64, tenure) F(u32, bucket) F(u32, place) F(u16, requester) F(u16, behind) F(u8, how) F(u8, flags)
#define GRD_FIELDS_MOVE_REPORT(F) \
    F(u64, request) F(u64, tenure) F(u32, bucket) F(u32, place) F(u16, requester) F(u8, how) F(u8, flags)
#define GRD_FIELDS_SCN_ASK(F) F(u64, request)
#define GRD_FIELDS_SCN_TELL(F) F(u64, request)
#define GRD_FIELDS_LEAVE(F) F(u64, request)
#define GRD_FIELDS_FILE_STOP(F) F(key, key) F(u64, request)
#define GRD_FIELDS_FILE_STOPPED(F) F(key, key) F(u64, request)
#define GRD_FIELDS_FILE_GO(F) F(key, key) F(u64, request) F(u64, version) F(u8, flags)
#define GRD_FIELDS_LOCK_REQUEST(F)                                                                                  \
    F(key, key) F(u64, request) F(u64, held) F(u8, mode) F(u8, now) F(u8, stake) F(u8, flags) F(name, name)
#define GRD_FIELDS_LOCK_GRANT(F)                                                                                    \
    F(key, key) F(u64, request) F(u64, tenure) F(u64, version) F(u32, record) F(u8, mode) F(u8, flags) F(text, value)
#define GRD_FIELDS_LOCK_REFUSED(F) F(key, key) F(u64, request) F(u8, how)
#define GRD_FIELDS_LOCK_CANCEL(F) F(key, key) F(u64, request)
#define GRD_FIELDS_LOCK_DEMAND(F) F(key, key) F(u64, request) F(u64, tenure) F(u8, mode) F(u8, flags)
#define GRD_FIELDS_LOCK_IN_USE(F) F(key, key) F(u64, tenure) F(u8, mode)
#define GRD_FIELDS_LOCK_DOWN(F) F(key, key) F(u64, tenure) F(u64, version) F(u8, mode) F(u8, flags) F(text, value)
#define GRD_FIELDS_LOCK_LOWERED(F) F(key, key) F(u64, tenure) F(u64, version) F(u8, mode) F(u8, flags)
#define GRD_FIELDS_LOCK_SWAP(F) F(key, key) F(u64, request) F(u64, held) F(u8, slot) F(text, value) F(name, name)
#define GRD_FIELDS_LOCK_READ(F) F(key, key) F(u64, request)
#define GRD_FIELDS_LOCK_VALUE(F)                                                                                    \
    F(key, key) F(u64, request) F(u64, version) F(u32, record) F(u8, how) F(u8, flags) F(text, value)
#define GRD_FIELDS_DETECT_ASK(F) F(u64, request) F(u64, held) F(u64, number) F(u8, flags) F(words, words)
#define GRD_FIELDS_DETECT_REPORT(F) F(u64, request) F(u64, held) F(u8, how) F(u8, hops) F(u8, flags) F(words, words)
#define GRD_FIELDS_DETECT_VICTIM(F) F(u64, request) F(u64, held) F(u8, flags) F(words, words)
#define GRD_FIELDS_DETECT_TOLD(F) F(u64, request) F(u8, how)
/* clang-format on */

#endif
