/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHEFUSION_EXPORT_H
#define CACHEFUSION_EXPORT_H

/* CF_API marks every exported function; the linker's version script is made from these marks. */
#if defined(__GNUC__)
#define CF_API __attribute__((visibility("default")))
#define CF_MUST_CHECK __attribute__((warn_unused_result))
#else
#define CF_API
#define CF_MUST_CHECK
#endif

#endif
