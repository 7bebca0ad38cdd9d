/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order between the CPU and a device that reads and writes memory by DMA. The names say the situation;
 * none of them orders one CPU thread against another (base/atomic.h does).
 *
 * x86-64: stores to write-back memory become visible in program order and DMA is coherent, so publish
 * and observe need only stop the compiler. Write-combining mappings are weaker: flush needs sfence.
 * aarch64: the device is in the outer shareable domain, so publish and observe are dmb oshst / oshld,
 * and a flush that must have left the core is dsb st.
 */
#ifndef CF_BASE_DMA_H
#define CF_BASE_DMA_H

#include <stdatomic.h>

/*
 * Between filling a buffer or descriptor and telling the device of it (producer index, doorbell).
 * Guarantee: the device that sees the later store sees the earlier ones.
 */
static inline void cf_dma_publish_to_nic(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("" ::: "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("dmb oshst" ::: "memory");
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/*
 * Between reading a word the device wrote to say "done" (ownership bit, sequence number) and reading
 * what it wrote before. Guarantee: those reads are not older than the word.
 */
static inline void cf_dma_observe_from_nic(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("" ::: "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("dmb oshld" ::: "memory");
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/*
 * After stores to a device register or write-combining window. Guarantee: they leave the core now and
 * are not merged with later ones. It does not wait for the device to act.
 */
static inline void cf_dma_flush_writes(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("sfence" ::: "memory");
#elif defined(__aarch64__)
    __asm__ __volatile__("dsb st" ::: "memory");
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif
