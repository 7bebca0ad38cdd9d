/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/seed.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "grd/lock_mutant.h"
#include "tools/sim/cluster.h"
#include "transport/link/mutant.h"

#define ULL(x) ((unsigned long long)(x))

void sim_seed_command(const struct sim_options *options, char *text, size_t text_bytes)
{
    int used = snprintf(text, text_bytes, "%s sim --seed %llu --instances %u --seconds %.9g --faults",
                        options->mutant != NULL ? "cachefusion-sim" : "cachefusion", ULL(options->seed),
                        options->instances, (double)options->run_ns / (double)CF_NS_PER_S);
    char separator = ' ';

    if (options->faults == SIM_FAULTS_ALL || options->faults == 0)
        used += snprintf(text + used, text_bytes - (size_t)used, " %s",
                         options->faults == 0 ? "none" : "all");
    for (uint32_t i = 0; i < SIM_FAULTS && options->faults != SIM_FAULTS_ALL; i++) {
        if ((options->faults >> i & 1) == 0)
            continue;
        used += snprintf(text + used, text_bytes - (size_t)used, "%c%s", separator, sim_fault_name(i));
        separator = ',';
    }
    if (options->ops_max != 0)
        used += snprintf(text + used, text_bytes - (size_t)used, " --ops %llu", ULL(options->ops_max));
    if (options->mutant != NULL)
        used += snprintf(text + used, text_bytes - (size_t)used, " --mutant %s", options->mutant);
    if (options->hot != 0)
        used += snprintf(text + used, text_bytes - (size_t)used, " --hot %u --residency %llu",
                         options->hot - 1, ULL(options->residency_ns));
    if (options->own != 0)
        used += snprintf(text + used, text_bytes - (size_t)used, " --own %u", options->own - 1);
    if (options->moves != 0)
        used += snprintf(text + used, text_bytes - (size_t)used, " --moves %llu", ULL(options->moves));
    if (options->cold != 0)
        used += snprintf(text + used, text_bytes - (size_t)used, " --cold %u", options->cold);
    if (options->network != SIM_NETWORK_DRAWN)
        used += snprintf(text + used, text_bytes - (size_t)used, " --network %s",
                         options->network == SIM_NETWORK_LINKS ? "links" : "lanes");
    if (options->crash)
        snprintf(text + used, text_bytes - (size_t)used, " --crash");
}

static void report(const struct sim_options *options, uint32_t instances, const struct sim_result *result,
                   FILE *out)
{
    char command[400];

    if (!result->ok) {
        sim_seed_command(options, command, sizeof(command));
        fprintf(out, "repeat: %s\n", command);
    }
    fprintf(out, "sim seed=%llu instances=%u events=%llu trace=%016llx result=%s\n", ULL(options->seed),
            instances, ULL(result->events), ULL(result->trace), result->ok ? "ok" : "FAILED");
    fflush(out);
}

static void print_facts(const struct sim_plan *plan, const struct sim_result *r, FILE *out)
{
    char text[400];

    sim_plan_print(plan, text, sizeof(text));
    fprintf(out, "%s\n", text);
    fprintf(out,
            "%.3f s virtual, %llu turns, %llu calls (%llu gets, %llu upgrades, %llu lost, %llu groups, %llu "
            "timed out, %llu "
            "cancelled, %llu busy, %llu again), %llu checks of a block, %llu ops in the history\n",
            (double)r->virtual_ns / (double)CF_NS_PER_S, ULL(r->counts.turns), ULL(r->counts.ops),
            ULL(r->counts.gets), ULL(r->counts.upgrades), ULL(r->counts.lost_upgrades), ULL(r->counts.groups),
            ULL(r->counts.timeouts), ULL(r->counts.cancelled), ULL(r->counts.busy), ULL(r->counts.again),
            ULL(r->checks), ULL(r->history_count));
    fprintf(out,
            "%llu messages delivered, %llu frames; %llu lost, %llu doubled, %llu damaged, %llu torn, %llu "
            "flaps; %llu shipped, %llu "
            "invalidated, %llu evicted, "
            "%llu past images dropped, %llu not-held, %llu refused grants, %llu disk writes\n",
            ULL(r->net.delivered), ULL(r->net.frames), ULL(r->net.lost), ULL(r->net.doubled),
            ULL(r->net.damaged), ULL(r->net.torn), ULL(r->net.flaps), ULL(r->stats.blocks_shipped),
            ULL(r->stats.invalidated), ULL(r->stats.evicted), ULL(r->stats.past_images_dropped),
            ULL(r->stats.not_held), ULL(r->stats.refused_grants), ULL(r->stats.disk_writes));
    fprintf(
        out,
        "%llu locks granted, %llu values checked, %llu swaps, %llu reads, %llu deadlocks told, %llu us in a "
        "deadlock at most; %llu victims spared in a copy, %llu of them for nothing\n",
        ULL(r->lock_grants), ULL(r->lock_values), ULL(r->lock_swaps), ULL(r->lock_reads),
        ULL(r->lock_deadlocks), ULL(r->lock_stuck_ns_max / 1000), ULL(r->lock_trials),
        ULL(r->lock_trials_open));
    fprintf(out,
            "%llu snapshots, %llu by READs; %llu places asked for, %llu first looks refused, %llu torn, %llu "
            "given up\n",
            ULL(r->counts.snapshots), ULL(r->stats.snapshots_read), ULL(r->stats.snapshots_asked),
            ULL(r->stats.snapshots_refused), ULL(r->stats.snapshots_torn), ULL(r->stats.snapshots_given_up));
    fprintf(
        out,
        "%llu buckets told to move, %llu found by use, %llu have moved, %llu given up, %llu retries; %llu "
        "messages held, %llu entries taken over, %llu asked for\n",
        ULL(r->counts.moves), ULL(r->stats.remaster_planned), ULL(r->stats.remaster_taken),
        ULL(r->stats.remaster_given_up), ULL(r->stats.remaster_retries), ULL(r->stats.remaster_held),
        ULL(r->stats.remaster_entries), ULL(r->stats.remaster_asked));
    fprintf(
        out,
        "%llu entries given back (%llu with several holders, %llu with past images), %llu rebuilds, %llu of "
        "them for nothing, %llu times everybody was asked, %llu messages had no room\n",
        ULL(r->stats.directory_given_back), ULL(r->stats.directory_given_many),
        ULL(r->stats.directory_given_past), ULL(r->stats.directory_rebuilds),
        ULL(r->stats.directory_wrong_positives), ULL(r->stats.directory_rebuilds_all),
        ULL(r->stats.directory_refused));
}

#if CF_MUTANTS
static bool mutant_select(const char *name)
{
    size_t prefix_bytes = strlen(SIM_LINK_MUTANT), lock_bytes = strlen(SIM_LOCK_MUTANT);

    if (name != NULL && strncmp(name, SIM_LOCK_MUTANT, lock_bytes) == 0) {
        for (uint32_t i = 1; i < GRD_LOCK_MUT_COUNT; i++)
            if (strcmp(grd_lock_mutant_name(i), name + lock_bytes) == 0)
                grd_lock_mutant_selected = (enum grd_lock_mutant_id)i;
        return grd_lock_mutant_selected != GRD_LOCK_MUT_NONE;
    }
    if (name == NULL || strncmp(name, SIM_LINK_MUTANT, prefix_bytes) != 0)
        return grd_mutant_select(name);
    for (uint32_t i = 1; i < XP_LINK_MUT_COUNT; i++)
        if (strcmp(xp_link_mutant_name(i), name + prefix_bytes) == 0)
            xp_link_mutant_selected = (enum xp_link_mutant_id)i;
    return true;
}
#endif

bool sim_seed_run_here(const struct sim_options *options, FILE *out)
{
    struct sim_plan plan;
    struct sim_result result;

#if CF_MUTANTS
    if (!mutant_select(options->mutant))
        return false;
#endif
    sim_plan_draw(options, &plan);
    sim_cluster_run(&plan, out, &result);
    if (options->hot != 0)
        sim_hot_print(&result.hot, plan.instances,
                      result.stats.hops2 + result.stats.hops3 + result.stats.upgrades, out);
    if (options->own != 0)
        sim_own_print(&result.own, plan.instances, out);
    if (!options->is_quiet || !result.ok)
        print_facts(&plan, &result, out);
    report(options, plan.instances, &result, out);
    return result.ok;
}

bool sim_seed_run(const struct sim_options *options, FILE *out)
{
    struct sim_result nothing = {.ok = false};
    struct sim_plan plan;
    pid_t pid;
    int status = 0;

    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        fprintf(out, "sim: no process could be made for the seed\n");
        return false;
    }
    if (pid == 0) {
        bool ok;

        alarm(SIM_SEED_WALL_S_MAX);
        ok = sim_seed_run_here(options, out);
        fflush(NULL);
        _exit(ok ? 0 : 1);
    }
    if (waitpid(pid, &status, 0) != pid) {
        fprintf(out, "sim: the seed's process was lost\n");
        return false;
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0;
    fprintf(out, "the run was ended by signal %d%s\n", WTERMSIG(status),
            WTERMSIG(status) == SIGALRM ? ": it took too long" : "");
    sim_plan_draw(options, &plan);
    report(options, plan.instances, &nothing, out);
    return false;
}
