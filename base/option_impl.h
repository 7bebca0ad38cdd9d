/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CF_BASE_OPTION_IMPL_H
#define CF_BASE_OPTION_IMPL_H

/* Between option.c, which sets values, and option_text.c, which writes them. */
#include "base/option.h"

#define CF_OPTION_NAME_BYTES 64
#define CF_OPTION_TEXT_BYTES 512

/* Largest value of an integer option: the table's, or what the field holds. */
uint64_t cf_option_integer_max(const struct cf_option_desc *option);
char *cf_option_integer_format(enum cf_option_type type, uint64_t value, char *buf, size_t buf_bytes);
void cf_option_choices_join(const struct cf_option_desc *option, const char *between, char *buf,
                            size_t buf_bytes);

#endif
