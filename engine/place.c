/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/place.h"

#include <errno.h>
#include <hwloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* Cores that auto leaves to the database's own threads and to the system. */
#define CORES_LEFT 2u

/* The choices of option placement, in the order of options.def. */
enum placement { PLACEMENT_AUTO = 0, PLACEMENT_DEDICATED = 1, PLACEMENT_COMPACT = 2 };

CF_PRINTF(3, 4)
static enum cf_rc fail(struct cf_error *error, int system_error, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return CF_SYSTEM;
    memset(error, 0, sizeof *error);
    error->rc = CF_SYSTEM;
    error->system = system_error;
    error->node = CF_NODE_NONE;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return CF_SYSTEM;
}

/* What the choice is made from. Lists live as long as the making of the plan. */
struct view {
    hwloc_topology_t topology;
    hwloc_bitmap_t usable; /* cpus this process may use */
    struct site {
        int cpu;  /* the core's first usable cpu */
        int node; /* number of its NUMA node */
    } * site;     /* [cores] in the order of the machine */
    uint32_t cores;
    uint32_t nodes;
};

static int node_of(hwloc_topology_t topology, hwloc_const_cpuset_t cpus)
{
    hwloc_obj_t node = NULL;

    while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != NULL)
        if (hwloc_bitmap_intersects(node->cpuset, cpus))
            return (int)node->os_index;
    return ENG_NODE_ANY;
}

/* A core counts once however many hardware threads it has; machines that do not tell cores have cpus only. */
static void view_sites(struct view *view)
{
    hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(view->topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE
                                                                                         : HWLOC_OBJ_PU;
    hwloc_obj_t object = NULL;

    while ((object = hwloc_get_next_obj_by_type(view->topology, type, object)) != NULL) {
        int cpu = -1;

        do
            cpu = hwloc_bitmap_next(object->cpuset, cpu);
        while (cpu >= 0 && !hwloc_bitmap_isset(view->usable, (unsigned)cpu));
        if (cpu >= 0) {
            view->site[view->cores].cpu = cpu;
            view->site[view->cores++].node = node_of(view->topology, object->cpuset);
        }
    }
}

static void view_close(struct view *view)
{
    hwloc_bitmap_free(view->usable);
    free(view->site);
}

static enum cf_rc view_open(struct view *view, hwloc_topology_t topology, struct cf_error *error)
{
    int cpus = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU),
        nodes = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);

    memset(view, 0, sizeof *view);
    view->topology = topology;
    view->nodes = nodes > 0 ? (uint32_t)nodes : 1;
    view->usable = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology));
    view->site = calloc(cpus > 0 ? (size_t)cpus : 1, sizeof *view->site);
    if (view->usable == NULL || view->site == NULL) {
        view_close(view);
        return fail(error, ENOMEM, "no memory to plan the placement of threads");
    }
    /* taskset and the like: narrower than what the machine or the container allows. */
    if (hwloc_topology_is_thissystem(topology)) {
        hwloc_bitmap_t bound = hwloc_bitmap_alloc();

        if (bound != NULL && hwloc_get_cpubind(topology, bound, HWLOC_CPUBIND_PROCESS) == 0 &&
            hwloc_bitmap_intersects(view->usable, bound))
            hwloc_bitmap_and(view->usable, view->usable, bound);
        hwloc_bitmap_free(bound);
    }
    view_sites(view);
    if (view->cores == 0) {
        view_close(view);
        return fail(error, 0, "the machine tells no cpu that this process may use");
    }
    return CF_OK;
}

/* The NIC's node, or ENG_NODE_ANY. "mlx5_0/1" is port 1 of mlx5_0. */
static int nic_node(const struct view *view, const char *nic)
{
    size_t length = strcspn(nic, "/");
    hwloc_obj_t device = NULL;

    while ((device = hwloc_get_next_osdev(view->topology, device)) != NULL) {
        if (device->name != NULL && strlen(device->name) == length &&
            memcmp(device->name, nic, length) == 0) {
            hwloc_obj_t place = hwloc_get_non_io_ancestor_obj(view->topology, device);

            /* A device of the whole machine is near to no node. */
            if (place == NULL || hwloc_bitmap_weight(place->nodeset) != 1)
                return ENG_NODE_ANY;
            return hwloc_bitmap_first(place->nodeset);
        }
    }
    return ENG_NODE_ANY;
}

/* The node with the most usable cores; the lower number when they are equal. */
static int widest_node(const struct view *view)
{
    int best = view->site[0].node;
    uint32_t best_cores = 0;

    for (uint32_t i = 0; i < view->cores; i++) {
        uint32_t cores = 0;

        for (uint32_t j = 0; j < view->cores; j++)
            cores += view->site[j].node == view->site[i].node;
        if (cores > best_cores || (cores == best_cores && view->site[i].node < best)) {
            best = view->site[i].node;
            best_cores = cores;
        }
    }
    return best;
}

/*
 * The cores in the order in which roles take them: the node's, then the others'. The machine's first core
 * comes last: the system's own work gathers there.
 */
static void order_sites(const struct view *view, int node, struct site *order)
{
    uint32_t count = 0;

    for (int is_near = 1; is_near >= 0; is_near--)
        for (uint32_t i = 1; i < view->cores; i++)
            if ((view->site[i].node == node) == is_near)
                order[count++] = view->site[i];
    order[count++] = view->site[0];
    cf_assert(count == view->cores);
}

static enum cf_rc take_cores(const struct view *view, const struct cf_options *options, uint64_t instances,
                             int node, struct eng_plan *plan, struct cf_error *error)
{
    struct site *order = calloc(view->cores, sizeof *order);
    uint64_t next;

    if (order == NULL)
        return fail(error, ENOMEM, "no memory to plan the placement of threads");
    order_sites(view, node, order);
    plan->workers = (uint32_t)options->shards;
    next = instances > 1 ? options->node * (plan->workers + 2) : 0;
    plan->poller_cpu = order[next % view->cores].cpu;
    plan->node = view->nodes > 1 ? order[next % view->cores].node : ENG_NODE_ANY;
    for (uint32_t i = 0; i < plan->workers; i++)
        plan->worker_cpu[i] = order[++next % view->cores].cpu;
    plan->storage_cpu = order[++next % view->cores].cpu;
    next = instances * (plan->workers + 2);
    if (next < view->cores)
        plan->detector_cpu = order[next].cpu;
    free(order);
    return CF_OK;
}

static void say(struct eng_plan *plan, const struct cf_options *options, uint64_t instances, uint64_t wanted,
                const char *nic, int near)
{
    char why[160], place[160];
    uint64_t roles = options->shards + 2;

    if (options->placement != PLACEMENT_AUTO)
        snprintf(why, sizeof why, "asked for%s",
                 !plan->is_compact && plan->cores < roles * instances ? ", cores are shared" : "");
    else
        snprintf(why, sizeof why, "auto: %llu roles%s%s and %u to spare need %llu cores",
                 (unsigned long long)roles, instances > 1 ? " of each instance" : "",
                 instances > 1 ? " on this host" : "", CORES_LEFT, (unsigned long long)wanted);
    if (nic == NULL)
        snprintf(place, sizeof place, "no nic");
    else if (near == ENG_NODE_ANY)
        snprintf(place, sizeof place, "nic %.64s is near to no node", nic);
    else
        snprintf(place, sizeof place, "nic %.64s on node %d", nic, near);
    if (plan->is_compact)
        snprintf(plan->text, sizeof plan->text,
                 "placement compact (%s), cores %u nodes %u, one thread for all roles, %s", why, plan->cores,
                 plan->nodes, place);
    else
        snprintf(
            plan->text, sizeof plan->text,
            "placement dedicated (%s), cores %u nodes %u, poller cpu %d, directory workers %u from cpu %d, "
            "storage cpu %d, memory node %d, %s",
            why, plan->cores, plan->nodes, plan->poller_cpu, plan->workers, plan->worker_cpu[0],
            plan->storage_cpu, plan->node, place);
}

enum cf_rc eng_plan_make_on(struct hwloc_topology *topology, const struct cf_options *options,
                            const char *nic, struct eng_plan *plan_out, struct cf_error *error)
{
    /* Over shm: every member of the cluster is on this host, and all make their plans alone. */
    uint64_t instances = strncmp(options->transport, "shm:", 4) == 0 ? options->nodes : 1;
    uint64_t wanted = (options->shards + 2) * instances + CORES_LEFT;
    struct eng_plan plan = {.poller_cpu = ENG_CPU_ANY,
                            .storage_cpu = ENG_CPU_ANY,
                            .detector_cpu = ENG_CPU_ANY,
                            .node = ENG_NODE_ANY};
    struct view view;
    enum cf_rc rc;
    int near;

    cf_assert(options->placement <= PLACEMENT_COMPACT);
    cf_assert(options->shards >= 1 && options->shards <= ENG_PLAN_WORKERS_MAX);
    rc = view_open(&view, topology, error);
    if (rc != CF_OK)
        return rc;
    for (uint32_t i = 0; i < ENG_PLAN_WORKERS_MAX; i++)
        plan.worker_cpu[i] = ENG_CPU_ANY;
    plan.cores = view.cores;
    plan.nodes = view.nodes;
    near = nic != NULL ? nic_node(&view, nic) : ENG_NODE_ANY;
    plan.is_compact = options->placement == PLACEMENT_COMPACT ||
                      (options->placement == PLACEMENT_AUTO && view.cores < wanted);
    if (plan.is_compact)
        plan.node = view.nodes > 1 ? near : ENG_NODE_ANY;
    else
        rc = take_cores(&view, options, instances, near != ENG_NODE_ANY ? near : widest_node(&view), &plan,
                        error);
    view_close(&view);
    if (rc != CF_OK)
        return rc;
    say(&plan, options, instances, wanted, nic, near);
    *plan_out = plan;
    return CF_OK;
}

/*
 * Devices that compute or draw say nothing about our threads, and their drivers take seconds or leak. The
 * plugin for PCI leaks too; the system's own list of devices, which hwloc then takes, is enough.
 */
static void skip_plugins(hwloc_topology_t topology)
{
    static const char *const components[] = {"opencl", "cuda", "nvml", "rsmi", "levelzero", "gl", "pci"};

    /* A component that is not installed is refused, which is as good. */
    for (size_t i = 0; i < CF_COUNTOF(components); i++)
        (void)hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                            components[i]);
}

enum cf_rc eng_plan_make(const struct cf_options *options, const char *nic, struct eng_plan *plan_out,
                         struct cf_error *error)
{
    hwloc_topology_t topology;
    enum cf_rc rc;

    if (hwloc_topology_init(&topology) != 0)
        return fail(error, errno, "hwloc cannot start");
    skip_plugins(topology);
    if (hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) != 0 ||
        hwloc_topology_load(topology) != 0)
        rc = fail(error, errno, "hwloc cannot read the topology of the machine");
    else
        rc = eng_plan_make_on(topology, options, nic, plan_out, error);
    hwloc_topology_destroy(topology);
    return rc;
}

static void print_role(FILE *out, const char *role, int cpu)
{
    if (cpu == ENG_CPU_ANY)
        fprintf(out, "  %-18s any cpu\n", role);
    else
        fprintf(out, "  %-18s cpu %d\n", role, cpu);
}

void eng_plan_print(const struct eng_plan *plan, FILE *out)
{
    fprintf(out, "%s\n", plan->text);
    if (plan->is_compact) {
        print_role(out, "all roles", plan->poller_cpu);
    } else {
        print_role(out, "poller", plan->poller_cpu);
        for (uint32_t i = 0; i < plan->workers; i++) {
            char role[32];

            snprintf(role, sizeof role, "directory worker %u", i);
            print_role(out, role, plan->worker_cpu[i]);
        }
        print_role(out, "storage worker", plan->storage_cpu);
        print_role(out, "deadlock detector", plan->detector_cpu);
    }
    if (plan->node == ENG_NODE_ANY)
        fprintf(out, "  %-18s any node\n", "memory");
    else
        fprintf(out, "  %-18s node %d\n", "memory", plan->node);
}
