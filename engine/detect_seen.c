/* SPDX-License-Identifier: Apache-2.0 */
/* The graph kept for whoever asks for it: filled while a round hears its answers, told once the round is whole. */
#include <string.h>

#include "engine/detect_impl.h"
#include "engine/instance.h"

void eng_seen_begin(struct eng_role *role, uint64_t since_ns)
{
    struct eng_seen *seeing = role->seeing;

    if (!role->is_changes) {
        seeing->reports_count = seeing->reports_total = 0;
        return;
    }
    if (!role->has_seeing) {
        seeing->reports_count = role->seen->reports_count;
        seeing->reports_total = role->seen->reports_total;
        memcpy(seeing->report, role->seen->report, seeing->reports_count * sizeof seeing->report[0]);
        memcpy(seeing->print, role->seen->print, seeing->reports_count * sizeof seeing->print[0]);
    }
    for (uint32_t i = 0; i < seeing->reports_count; i++)
        seeing->report[i].age_ns += since_ns;
}

void eng_seen_add(struct eng_role *role, const struct grd_detect_report *report)
{
    struct eng_seen *seeing = role->seeing;

    seeing->reports_total++;
    if (seeing->reports_count == ENG_DETECT_SEEN_MAX)
        return;
    seeing->print[seeing->reports_count] = grd_detect_print(report);
    seeing->report[seeing->reports_count++] = *report;
}

void eng_seen_take(struct eng_role *role, uint64_t print)
{
    struct eng_seen *seeing = role->seeing;
    uint32_t i = 0, last = seeing->reports_count - 1;

    seeing->reports_total -= seeing->reports_total != 0;
    while (i < seeing->reports_count && seeing->print[i] != print)
        i++;
    if (i == seeing->reports_count)
        return;
    seeing->print[i] = seeing->print[last];
    seeing->report[i] = seeing->report[last];
    seeing->reports_count = last;
}

void eng_seen_publish(struct eng_role *role, uint32_t confirmed, uint64_t now_ns)
{
    struct eng_seen *whole = role->seeing;

    whole->round = role->round;
    whole->at_ns = now_ns;
    whole->confirmed = confirmed;
    role->has_seeing = pthread_mutex_trylock(&role->seen_lock) != 0;
    if (role->has_seeing)
        return;
    role->seeing = role->seen;
    role->seen = whole;
    pthread_mutex_unlock(&role->seen_lock);
}
