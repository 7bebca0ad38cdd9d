/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I-14, by trying: in a copy of the whole cluster nobody is a victim, faults have ceased, and everybody who does not wait
 * unlocks. Should the victim's wait end with a grant there, it was in no deadlock.
 *
 *   run ----- a victim is named --fork--> waits for the copy's verdict --> the victim's wait ends --> run
 *                                  |
 *                                  +--> the copy spares it, grows calm, and goes on until the wait has ended, or long enough
 *
 * A cycle that stood when the detector looked may be gone when its victim is told, if something else has ended a wait on it
 * (docs/locks-detector.md): a deadline, a conversion deadlock, another victim of the same round, of which the messages
 * come in any order. Then, and where something of the kind opens the way in the copy, nothing is proved. So it is tried
 * with patient clients, when no wait has been ended for as long as two rounds and a victim may take.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/sim/cluster.h"

/* What is lost before the copy is made is said again within the longest repetition; then everybody has come round twice. */
#define RESEND_DOUBLED 6u
#define THINKS 8u
#define WALL_S_MAX 20u
#define PERIODS 3u
#define PERIODS_FAULTY 24u

enum verdict { REAL = 0, PHANTOM = 10, OPEN = 11 };

static void begin(struct sim_cluster *cluster, struct sim_locker *locker)
{
    const struct sim_plan *plan = &cluster->plan;

    alarm(WALL_S_MAX);
    cluster->locks->trial = locker;
    cluster->locks->trial_end_ns = cluster->now_ns + (plan->resend_ns << RESEND_DOUBLED) +
                                   THINKS * SIM_LOCKER_HELD_MAX * plan->think_ns_mean + CF_NS_PER_MS;
    cluster->is_calm = true;
    sim_episodes_end(cluster);
    for (uint32_t n = 0; n < cluster->plan.instances; n++)
        sim_cluster_due(cluster, (uint16_t)n, cluster->now_ns);
}

/* Has no other wait been ended since the rounds that have found this victim began? */
static bool is_alone(const struct sim_cluster *cluster)
{
    uint64_t ended_ns = cluster->locks->ended_ns;
    uint32_t periods = sim_lock_is_faultless(cluster) ? PERIODS : PERIODS_FAULTY;

    return ended_ns == 0 || cluster->now_ns - ended_ns > periods * cluster->plan.deadlock_period_ns;
}

bool sim_lock_trial(void *context, const struct cf_op *op)
{
    struct sim_cluster *cluster = context;
    struct sim_locker *locker = op->user;
    struct sim_locks *locks = cluster->locks;
    int status = 0;
    pid_t pid;

    if (locks->trial)
        return false;
    locker->is_victim = true;
    locker->is_alone = is_alone(cluster);
    locks->ended_ns = cluster->now_ns;
    if (locks->trials >= SIM_LOCK_TRIALS_MAX || cluster->crashed != CF_NODE_NONE || !locker->is_alone ||
        !cluster->plan.is_patient)
        return true;
    locks->trials++;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        begin(cluster, locker);
        return false;
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        sim_cluster_break(cluster, "no copy of the cluster could be made");
        return true;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == PHANTOM)
        sim_cluster_break(
            cluster,
            "I-14 lock %u: node %u client %u is a victim, and its wait would have ended with a grant",
            locker->lock, locker->node, locker->number);
    locks->trials_open += !WIFEXITED(status) || WEXITSTATUS(status) == OPEN;
    return true;
}

void sim_lock_trial_give_up(void)
{
    _exit(OPEN);
}

void sim_lock_trial_look(struct sim_cluster *cluster)
{
    const struct sim_locker *locker = cluster->locks->trial;

    if (locker->op.rc == CF_OK)
        _exit(PHANTOM);
    if (locker->op.rc != CF_PENDING)
        _exit(OPEN);
    if (cluster->now_ns >= cluster->locks->trial_end_ns)
        _exit(REAL);
}
