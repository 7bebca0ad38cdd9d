/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hist.h"

#define JSON_PATH_BYTES_MAX 4096

int cf_json_add_u64(json_t *object, const char *key, uint64_t value)
{
    if (value > INT64_MAX)
        return -1;
    return json_object_set_new(object, key, json_integer((json_int_t)value));
}

int cf_json_add_double(json_t *object, const char *key, double value)
{
    if (!isfinite(value))
        return -1;
    return json_object_set_new(object, key, json_real(value));
}

int cf_json_add_str(json_t *object, const char *key, const char *value)
{
    return json_object_set_new(object, key, json_string(value));
}

int cf_json_add_bool(json_t *object, const char *key, bool value)
{
    return json_object_set_new(object, key, json_boolean(value));
}

int cf_json_add_child(json_t *object, const char *key, json_t *child)
{
    return json_object_set_new(object, key, child);
}

void cf_json_put(struct cf_json_build *build, json_t *object, const char *key, json_t *value)
{
    build->is_short |= json_object_set_new(object, key, value) != 0;
}

void cf_json_append(struct cf_json_build *build, json_t *list, json_t *value)
{
    build->is_short |= json_array_append_new(list, value) != 0;
}

json_t *cf_json_text(const char *text)
{
    json_t *value = json_string(text);
    bool is_ascii = true;
    char *copy;

    for (const char *c = text; *c != 0; c++)
        is_ascii &= (unsigned char)*c < 0x80;
    if (value != NULL || is_ascii)
        return value;
    copy = strdup(text);
    if (copy == NULL)
        return NULL;
    for (char *c = copy; *c != 0; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    value = json_string(copy);
    free(copy);
    return value;
}

char *cf_json_dump(const struct cf_json_build *build, const json_t *root, size_t *bytes_out)
{
    size_t bytes = build->is_short ? 0 : json_dumpb(root, NULL, 0, JSON_INDENT(1));
    char *text = bytes != 0 ? malloc(bytes + 1) : NULL;

    if (text != NULL && json_dumpb(root, text, bytes, JSON_INDENT(1)) != bytes) {
        free(text);
        return NULL;
    }
    if (text == NULL)
        return NULL;
    text[bytes] = 0;
    *bytes_out = bytes;
    return text;
}

json_t *cf_json_hist(const struct cf_hist *hist)
{
    static const struct {
        const char *name;
        double quantile;
    } points[] = {{"p50_ns", 0.5}, {"p90_ns", 0.9}, {"p99_ns", 0.99}, {"p999_ns", 0.999}};
    json_t *object = json_object();
    int rc;

    if (object == NULL)
        return NULL;
    rc = cf_json_add_u64(object, "count", cf_hist_count(hist));
    rc |= cf_json_add_u64(object, "min_ns", cf_hist_min(hist));
    rc |= cf_json_add_double(object, "mean_ns", cf_hist_mean(hist));
    for (size_t i = 0; i < CF_COUNTOF(points); i++)
        rc |= cf_json_add_u64(object, points[i].name, cf_hist_percentile(hist, points[i].quantile));
    rc |= cf_json_add_u64(object, "max_ns", cf_hist_max(hist));
    if (rc != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* Closes in every case; the first error is the one reported in errno. */
static int write_and_sync(int fd, const json_t *value)
{
    int rc = json_dumpfd(value, fd, JSON_INDENT(2));
    int error;

    if (rc == 0 && write(fd, "\n", 1) != 1)
        rc = -1;
    if (rc == 0)
        rc = fsync(fd);
    error = rc != 0 && errno == 0 ? EIO : errno;
    if (close(fd) != 0 && rc == 0)
        return -1;
    errno = error;
    return rc;
}

int cf_json_write_file(const json_t *value, const char *path)
{
    char temporary[JSON_PATH_BYTES_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.tmp.%ld", path, (long)getpid());
    int fd;

    if (length < 0 || (size_t)length >= sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    errno = 0;
    if (write_and_sync(fd, value) != 0 || rename(temporary, path) != 0) {
        int error = errno;
        unlink(temporary);
        errno = error;
        return -1;
    }
    return 0;
}
