/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks mastered here that instances take from each other most, for the status. */
#include "base/json.h"
#include "engine/instance.h"
#include "engine/status.h"

static json_t *json_who(struct cf_json_build *build, const struct grd_hot_view *view)
{
    json_t *list = json_array();
    uint32_t i;

    for (i = 0; i < view->nodes; i++)
        cf_json_append(build, list,
                       json_pack("{s:i, s:I, s:I}", "node", (int)view->who[i].node, "s",
                                 (json_int_t)view->who[i].s, "x", (json_int_t)view->who[i].x));
    return list;
}

json_t *eng_status_hot(struct cf_json_build *build, const struct cf_instance *instance, uint64_t now_ns)
{
    const struct grd_hot *tables[CF_COUNTOF(instance->masters)];
    struct grd_hot_view views[ENG_STATUS_HOT_MAX];
    json_t *list = json_array();
    uint32_t s, i, count;

    for (s = 0; s < instance->shards; s++)
        tables[s] = instance->masters[s]->hot;
    count = grd_hot_top(tables, instance->shards, now_ns, views, ENG_STATUS_HOT_MAX);
    for (i = 0; i < count; i++)
        cf_json_append(build, list,
                       json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "file", (json_int_t)views[i].key.file,
                                 "block", (json_int_t)views[i].key.block, "s", (json_int_t)views[i].s, "x",
                                 (json_int_t)views[i].x, "error", (json_int_t)views[i].error, "who",
                                 json_who(build, &views[i])));
    return list;
}
