/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion tune`: what of this host matters, with the command that mends it, and which threads would run where. */
#include <stdio.h>
#include <string.h>

#include <cachefusion/cachefusion.h>

#include "base/cli.h"
#include "base/json.h"
#include "base/option.h"
#include "engine/options.h"
#include "engine/place.h"
#include "tools/exits.h"
#include "tools/tools.h"
#include "tools/tune/tune.h"

#define FINDINGS_MAX 32u
#define VERBS_PREFIX "verbs:"

struct tune_args {
    char config[256];
    char root[256];
    char nic[TUNE_NAME_BYTES];
    uint32_t node;
    bool json;
};

static const struct cf_option_desc table[] = {
    {.name = "config",
     .text = "cluster file; without it the defaults count",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct tune_args, config),
     .max = 256,
     .dflt = ""},
    {.name = "node",
     .text = "instance of the cluster file",
     .type = CF_OPTION_U32,
     .offset = offsetof(struct tune_args, node),
     .max = CF_NODES_MAX - 1,
     .dflt = "0"},
    {.name = "nic",
     .text = "network device the pollers should be near, for instance mlx5_0",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct tune_args, nic),
     .max = TUNE_NAME_BYTES,
     .dflt = ""},
    {.name = "root",
     .text = "look at a copy of another host's sys and proc in this folder; the plan stays this machine's",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct tune_args, root),
     .max = 256,
     .dflt = ""},
    {.name = "json",
     .text = "findings and plan as JSON",
     .type = CF_OPTION_BOOL,
     .offset = offsetof(struct tune_args, json),
     .dflt = "false"},
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "tune",
    .summary = "Shows what of this host matters to an instance, with the command that mends it, and the "
               "placement of threads and memory.",
    .table = table,
    .table_count = sizeof table / sizeof table[0],
    .notes =
        "pass: as it should be; none: the host has no such thing, or it does not matter here; warn: slower "
        "than it could be;\nfail: an instance with these options does not start (exit status 1).\n"
        "scripts/tune-host makes the changes that are safe, and undoes them.\n" EXITS_NOTE};

/* ------------------------------------------------------------------ looking */

/* The device of the transport, when it names one: verbs:mlx5_0/1. */
static void nic_of(const struct tune_args *args, const struct cf_options *options, char nic[TUNE_NAME_BYTES])
{
    const char *from = args->nic;

    if (from[0] == '\0' && strncmp(options->transport, VERBS_PREFIX, strlen(VERBS_PREFIX)) == 0)
        from = options->transport + strlen(VERBS_PREFIX);
    snprintf(nic, TUNE_NAME_BYTES, "%.*s", (int)TUNE_NAME_BYTES - 1, from);
}

static void host_fill(struct tune_host *host, const struct tune_args *args, const struct cf_options *options,
                      const struct eng_plan *plan)
{
    *host = (struct tune_host){
        .root = args->root,
        .is_rdma = strncmp(options->transport, VERBS_PREFIX, strlen(VERBS_PREFIX)) == 0,
        .needs_huge_pages = options->hugepages == 2,
        .instances = strncmp(options->transport, "shm:", 4) == 0 ? (uint32_t)options->nodes : 1,
        .poller_cpu = plan->is_compact ? ENG_CPU_ANY : plan->poller_cpu};
    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++)
        host->frames_bytes += eng_options_cache_bytes(options, c);
    nic_of(args, options, host->nic);
    tune_host_find_nic(host);
    if (args->root[0] == '\0')
        tune_flow_read(host);
}

static enum tune_verdict look(const struct tune_host *host, struct tune_finding findings[FINDINGS_MAX])
{
    enum tune_verdict worst = TUNE_PASS;

    for (size_t i = 0; i < tune_checks_count && i < FINDINGS_MAX; i++) {
        tune_check_run(&tune_checks[i], host, &findings[i]);
        if (findings[i].verdict > worst)
            worst = findings[i].verdict;
    }
    return worst == TUNE_NONE ? TUNE_PASS : worst;
}

/* ------------------------------------------------------------------ showing */

static void print_findings(const struct tune_finding findings[FINDINGS_MAX])
{
    for (size_t i = 0; i < tune_checks_count; i++) {
        const struct tune_finding *finding = &findings[i];

        printf("%-4s  %-10s %s\n", tune_verdict_name(finding->verdict), finding->name, finding->seen);
        if (finding->mend[0] != '\0')
            printf("                 mend: %s\n", finding->mend);
    }
    putchar('\n');
}

/* NULL: no memory. */
static json_t *json_findings(const struct tune_finding findings[FINDINGS_MAX])
{
    json_t *list = json_array();

    for (size_t i = 0; i < tune_checks_count; i++)
        if (json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", findings[i].name, "verdict",
                                                  tune_verdict_name(findings[i].verdict), "seen",
                                                  findings[i].seen, "mend", findings[i].mend)) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *json_plan(const struct eng_plan *plan)
{
    json_t *workers = json_array();

    for (uint32_t i = 0; i < plan->workers; i++)
        if (json_array_append_new(workers, json_integer(plan->worker_cpu[i])) != 0) {
            json_decref(workers);
            return NULL;
        }
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:o, s:i, s:i}", "placement",
                     plan->is_compact ? "compact" : "dedicated", "text", plan->text, "cores",
                     (int)plan->cores, "nodes", (int)plan->nodes, "poller_cpu", plan->poller_cpu,
                     "worker_cpus", workers, "storage_cpu", plan->storage_cpu, "memory_node", plan->node);
}

static int print_json(const struct tune_finding findings[FINDINGS_MAX], enum tune_verdict worst,
                      const struct eng_plan *plan)
{
    json_t *root = json_object();
    bool is_whole = cf_json_add_str(root, "verdict", tune_verdict_name(worst)) == 0 &&
                    cf_json_add_child(root, "checks", json_findings(findings)) == 0 &&
                    cf_json_add_child(root, "plan", json_plan(plan)) == 0 &&
                    json_dumpf(root, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF;

    json_decref(root);
    if (is_whole)
        return EXIT_OK;
    fprintf(stderr, "cachefusion tune: the text could not be made\n");
    return EXIT_TROUBLE;
}

int tool_tune(int argc, char **argv)
{
    struct tune_finding findings[FINDINGS_MAX];
    struct cf_options options;
    struct tune_args args;
    struct tune_host host;
    struct eng_plan plan;
    struct cf_error error;
    enum cf_cli_result result;
    enum tune_verdict worst;
    enum cf_rc rc = CF_OK;
    int status = EXIT_OK;

    cf_options_defaults(table, spec.table_count, &args);
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    cf_options_init(&options);
    if (args.config[0] != 0)
        rc = cf_options_load(&options, args.config, (uint16_t)args.node, &error);
    if (rc == CF_OK)
        rc = eng_plan_make(&options, args.nic[0] != 0 ? args.nic : NULL, &plan, &error);
    if (rc != CF_OK) {
        fprintf(stderr, "cachefusion tune: %s (%s)\n", error.text, cf_rc_remedy(rc));
        return EXIT_TROUBLE;
    }
    host_fill(&host, &args, &options, &plan);
    worst = look(&host, findings);
    if (args.json) {
        status = print_json(findings, worst, &plan);
    } else {
        print_findings(findings);
        eng_plan_print(&plan, stdout);
    }
    return status != EXIT_OK ? status : worst == TUNE_FAIL ? EXIT_CHECK : EXIT_OK;
}
