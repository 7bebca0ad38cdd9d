/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_FACTS_H
#define TOOLS_BENCH_FACTS_H

/* What a figure must be read with: machine, kernel, build. */

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*bench_fact_fn)(void *arg, const char *name, const char *value);
/* Calls `each` for every fact, always for the same names; a fact that cannot be had is "unknown". */
void bench_facts(bench_fact_fn each, void *arg);

#ifdef __cplusplus
}
#endif
#endif
