/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FACTS_H
#define BENCH_FACTS_H

#include "tools/bench/facts.h"

#endif
