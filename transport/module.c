/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds libcachefusion-NAME.so: in the directory of CACHEFUSION_MODULES (tests), beside this library or program, in
 * cachefusion/ there, and where an installed program keeps its library, ../lib/cachefusion/.
 */
#include "transport/module.h"

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 1024u

static CF_COLD enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *what, const char *value)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = rc, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "%s: %s", what, value);
    }
    return rc;
}

static bool is_there(char path[PATH_BYTES], const char *directory, const char *below, const char *name)
{
    int bytes = snprintf(path, PATH_BYTES, "%s%s/libcachefusion-%s.so", directory, below, name);

    return bytes > 0 && (uint32_t)bytes < PATH_BYTES && access(path, R_OK) == 0;
}

/* The directory of the file that this code was loaded from. */
static bool own_directory(char directory[PATH_BYTES])
{
    Dl_info info;
    char path[PATH_BYTES];
    ssize_t bytes;

    /* Of a program dladdr knows only how it was called. */
    if (dladdr((void *)(uintptr_t)own_directory, &info) == 0 || info.dli_fname == NULL)
        return false;
    if (strstr(info.dli_fname, ".so") != NULL) {
        snprintf(path, sizeof(path), "%s", info.dli_fname);
    } else {
        bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);
        if (bytes <= 0)
            return false;
        path[bytes] = 0;
    }
    snprintf(directory, PATH_BYTES, "%s", dirname(path));
    return true;
}

static bool find(char path[PATH_BYTES], const char *name)
{
    static const char *const places[] = {"", "/cachefusion", "/../lib/cachefusion"};
    const char *given = secure_getenv("CACHEFUSION_MODULES");
    char directory[PATH_BYTES];

    if (given != NULL && is_there(path, given, "", name))
        return true;
    if (!own_directory(directory))
        return false;
    for (uint32_t i = 0; i < CF_COUNTOF(places); i++)
        if (is_there(path, directory, places[i], name))
            return true;
    return false;
}

/* Loaded once, never unloaded: what it is linked to keeps threads. */
static enum cf_rc load(const char *name, const struct xp_ops **ops_out, struct cf_error *error)
{
    const struct xp_module *module;
    char path[PATH_BYTES];
    void *object, *symbol;
    xp_module_fn *fn;

    if (!find(path, name))
        return fail(error, CF_NOT_FOUND,
                    "this transport is a module that is not installed here; build it where its packages are",
                    name);
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (object == NULL)
        return fail(error, CF_NOT_FOUND, "the module cannot be loaded; install what it is linked to",
                    dlerror());
    symbol = dlsym(object, XP_MODULE_SYMBOL);
    if (symbol == NULL)
        return fail(error, CF_VERSION, "not a module of this library", path);
    memcpy(&fn, &symbol, sizeof(fn));
    module = fn();
    if (module->options_bytes != sizeof(struct xp_options) || module->ops_bytes != sizeof(struct xp_ops) ||
        module->xp_bytes != sizeof(struct xp) || module->wire_version != XP_WIRE_VERSION)
        return fail(error, CF_VERSION,
                    "the module is of another version of this library; install them together", path);
    *ops_out = module->ops;
    return CF_OK;
}

bool xp_module_is_present(const char *name, char *why, uint32_t why_bytes)
{
    const struct xp_ops *ops;
    struct cf_error error = {.rc = CF_OK};

    if (load(name, &ops, &error) == CF_OK)
        return true;
    snprintf(why, why_bytes, "%s", error.text);
    return false;
}

static enum cf_rc dpdk_open(const struct xp_options *options, const char *rest, struct xp **xp_out,
                            struct cf_error *error)
{
    const struct xp_ops *ops;
    enum cf_rc rc = load("dpdk", &ops, error);

    return rc == CF_OK ? ops->open(options, rest, xp_out, error) : rc;
}

/* Only a door: an instance that it opens carries the module's own table. */
const struct xp_ops xp_dpdk_ops = {.name = "dpdk", .open = dpdk_open};
