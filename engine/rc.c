/* SPDX-License-Identifier: Apache-2.0 */
/* Result codes in words, from status.def. A number that is no code of ours has words too. */
#include <cachefusion/status.h>

const char *cf_rc_name(enum cf_rc rc)
{
    switch (rc) {
#define CF_STATUS(name, value, cls, meaning, remedy) \
    case name:                                       \
        return #name;
#include <cachefusion/status.def>
#undef CF_STATUS
    }
    return "CF_UNKNOWN";
}

const char *cf_rc_text(enum cf_rc rc)
{
    switch (rc) {
#define CF_STATUS(name, value, cls, meaning, remedy) \
    case name:                                       \
        return meaning;
#include <cachefusion/status.def>
#undef CF_STATUS
    }
    return "a code that this version does not know";
}

const char *cf_rc_remedy(enum cf_rc rc)
{
    switch (rc) {
#define CF_STATUS(name, value, cls, meaning, remedy) \
    case name:                                       \
        return remedy;
#include <cachefusion/status.def>
#undef CF_STATUS
    }
    return "treat it as a failure of this instance";
}

enum cf_rc_class cf_rc_class(enum cf_rc rc)
{
    switch (rc) {
#define CF_STATUS(name, value, cls, meaning, remedy) \
    case name:                                       \
        return CF_CLASS_##cls;
#include <cachefusion/status.def>
#undef CF_STATUS
    }
    return CF_CLASS_FATAL;
}
