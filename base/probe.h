/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Static probes for bpftrace, perf and gdb: a nop where the probe stands and a note in the binary that says where
 * its arguments are. Nothing at all where <sys/sdt.h> is not installed, or with CF_PROBES_OFF. Names and arguments:
 * docs/tracing.md, which a test compares with the binary.
 *
 * Six arguments: bpftrace reads no more on x86-64. They are evaluated whether or not somebody listens: give values that are at hand, never calls.
 */
#ifndef CF_BASE_PROBE_H
#define CF_BASE_PROBE_H

#if defined(__has_include) && !defined(CF_PROBES_OFF)
#if __has_include(<sys/sdt.h>)
#define CF_HAS_PROBES 1
#endif
#endif

#ifdef CF_HAS_PROBES
#include <sys/sdt.h>
#define CF_PROBE6(name, a, b, c, d, e, f) STAP_PROBE6(cachefusion, name, a, b, c, d, e, f)
#else
#define CF_PROBE6(name, a, b, c, d, e, f) ((void)(a), (void)(b), (void)(c), (void)(d), (void)(e), (void)(f))
#endif

#endif
