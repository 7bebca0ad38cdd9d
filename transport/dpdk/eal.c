/* SPDX-License-Identifier: Apache-2.0 */
/* The one thing of this provider that a process has once: EAL, and the thread of it that is kept parked. */
#include "transport/dpdk/eal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_interrupts.h>
#include <rte_log.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/thread.h"
#include "transport/dpdk/pool.h"

#define GATE_USERS_MAX 64u
/* Memory of EAL without hugepages; touched only as far as pools use it. */
#define MEMORY_MIB "768"
#define HUGE_SIZES "/sys/kernel/mm/hugepages"
#define HUGE_BYTES_MIN (UINT64_C(64) << 20)
#define LOG_BYTES 256u

/*
 * Process-wide because EAL is. `closed` [atomic]: the interrupt thread is under way; it writes the word, everybody reads
 * it. A gate that nobody has stays open for ever: its `inside` is 0.
 */
static struct {
    pthread_mutex_t lock;
    bool is_started;
    bool has_failed;
    bool has_pci;
    bool has_membarrier;
    bool has_cause; /* last_log is an error */
    char why[LOG_BYTES];
    char last_log[LOG_BYTES];
    _Atomic uint32_t closed;
    struct xp_dpdk_gate gates[GATE_USERS_MAX];
    sem_t asked;
    int ready_fd;
} eal = {.lock = PTHREAD_MUTEX_INITIALIZER, .ready_fd = -1};

static CF_COLD enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *what, const char *remedy)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = rc, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "dpdk: %s; %s", what, remedy);
    }
    return rc;
}

/* EAL's own words go nowhere but into an error message: its first error is the cause, else its last line. */
static ssize_t log_write(void *cookie, const char *text, size_t bytes)
{
    size_t take = bytes < LOG_BYTES - 1 ? bytes : LOG_BYTES - 1;

    (void)cookie;
    if (!eal.is_started && !eal.has_cause && bytes > 1) {
        int level = rte_log_cur_msg_loglevel();

        eal.has_cause = level > 0 && level <= (int)RTE_LOG_ERR;
        memcpy(eal.last_log, text, take);
        eal.last_log[take] = 0;
        eal.last_log[strcspn(eal.last_log, "\n")] = 0;
    }
    return (ssize_t)bytes;
}

/* What goes to standard error while EAL starts: its cry of "FATAL" is the cause too, all else is passed on. */
static ssize_t error_write(void *cookie, const char *text, size_t bytes)
{
    static const char mark[] = "EAL: ";

    if (bytes >= sizeof(mark) && memcmp(text, mark, sizeof(mark) - 1) == 0)
        return log_write(cookie, text + sizeof(mark) - 1, bytes - sizeof(mark) + 1) < 0 ? -1 : (ssize_t)bytes;
    return write(STDERR_FILENO, text, bytes);
}

/* Of all sizes: EAL takes what it needs of the largest. */
static bool has_hugepages(void)
{
    char path[320];
    uint64_t bytes = 0;
    DIR *sizes = opendir(HUGE_SIZES);
    const struct dirent *size;

    while (sizes != NULL && (size = readdir(sizes)) != NULL) {
        unsigned long kib, count = 0;
        FILE *file;

        if (sscanf(size->d_name, "hugepages-%lukB", &kib) != 1)
            continue;
        snprintf(path, sizeof(path), HUGE_SIZES "/%s/free_hugepages", size->d_name);
        file = fopen(path, "re");
        if (file != NULL && fscanf(file, "%lu", &count) == 1)
            bytes += (uint64_t)count * kib * 1024;
        if (file != NULL)
            fclose(file);
    }
    if (sizes != NULL)
        closedir(sizes);
    return bytes >= HUGE_BYTES_MIN;
}

/* "0@(2-5,7)": one logical core, on the processors this thread may use. */
static void cores_text(char *text, size_t bytes)
{
    cpu_set_t set;
    size_t at = (size_t)snprintf(text, bytes, "0@(");
    bool is_first = true;

    if (pthread_getaffinity_np(pthread_self(), sizeof(set), &set) != 0)
        CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE && at + 8 < bytes; cpu++)
        if (CPU_ISSET(cpu, &set)) {
            at += (size_t)snprintf(text + at, bytes - at, "%s%d", is_first ? "" : ",", cpu);
            is_first = false;
        }
    snprintf(text + at, bytes - at, "%s)", is_first ? "0" : "");
}

/* In the interrupt thread, each time it comes round: opens the gate, waits to be asked, closes the gate. */
static void park(void *arg)
{
    (void)arg;
    atomic_store_explicit(&eal.closed, 0, memory_order_release);
    while (sem_wait(&eal.asked) != 0)
        cf_assert(errno == EINTR);
    while (sem_trywait(&eal.asked) == 0)
        continue; /* several have asked: one round serves them all */
    atomic_store_explicit(&eal.closed, 1, memory_order_seq_cst);
    cf_fence_full(); /* partner: xp_dpdk_gate_enter */
    if (eal.has_membarrier)
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    for (uint32_t i = 0; i < GATE_USERS_MAX; i++)
        while (atomic_load_explicit(&eal.gates[i].inside, memory_order_acquire) != 0)
            sched_yield();
}

static const char *park_register(struct rte_intr_handle *handle)
{
    uint64_t one = 1;

    /* Readable for ever: every round of the interrupt thread comes by. */
    eal.ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (eal.ready_fd < 0 || write(eal.ready_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        return "no event descriptor";
    if (rte_intr_fd_set(handle, eal.ready_fd) != 0 || rte_intr_type_set(handle, RTE_INTR_HANDLE_EXT) != 0)
        return "an interrupt handle is refused";
    atomic_store_explicit(&eal.closed, 1, memory_order_seq_cst);
    return rte_intr_callback_register(handle, park, NULL) == 0 ? NULL : "an interrupt callback is refused";
}

static const char *park_begin(void)
{
    struct rte_intr_handle *handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
    const char *why;

    eal.has_membarrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    if (handle == NULL || sem_init(&eal.asked, 0, 0) != 0)
        return "no memory for an interrupt handle";
    why = park_register(handle);
    rte_intr_instance_free(handle); /* EAL has made its own copy */
    return why;
}

static const char *start_eal(const char *pci)
{
    char cores[512], allow[64];
    char *args[16];
    int count = 0;
    bool is_huge = pci != NULL;

    cores_text(cores, sizeof(cores));
    snprintf(allow, sizeof(allow), "%s", pci != NULL ? pci : "");
    const char *const common[] = {"cachefusion", "--no-telemetry", "--lcores", cores};
    const char *const soft[] = {"--no-huge", "--no-shconf", "--no-pci", "-m", MEMORY_MIB};
    const char *const hard[] = {"--in-memory", "-a", allow};

    for (uint32_t i = 0; i < CF_COUNTOF(common); i++)
        args[count++] = (char *)(uintptr_t)common[i];
    for (uint32_t i = 0; !is_huge && i < CF_COUNTOF(soft); i++)
        args[count++] = (char *)(uintptr_t)soft[i];
    for (uint32_t i = 0; is_huge && i < CF_COUNTOF(hard); i++)
        args[count++] = (char *)(uintptr_t)hard[i];
    args[count] = NULL;
    if (rte_eal_init(count, args) < 0)
        return eal.last_log[0] != 0 ? eal.last_log : rte_strerror(rte_errno);
    rte_log_set_global_level(RTE_LOG_CRIT);
    if (!xp_dpdk_pool_register())
        return "no place for the stack of packet buffers";
    /* Some cards' drivers need the interrupt thread; its only other user, memif, is refused beside cards. */
    return is_huge ? NULL : park_begin();
}

static FILE *stream_of(cookie_write_function_t *write_fn)
{
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_fn});

    if (stream != NULL)
        setvbuf(stream, NULL, _IOLBF, LOG_BYTES);
    return stream;
}

static void *starter(void *arg)
{
    const char *pci = arg;
    FILE *log = stream_of(log_write), *filter = stream_of(error_write), *before = stderr;
    const char *why;

    if (log != NULL)
        rte_openlog_stream(log);
    if (filter != NULL)
        stderr = filter;
    why = start_eal(pci);
    stderr = before;
    if (filter != NULL)
        fclose(filter);
    if (why != NULL) {
        snprintf(eal.why, sizeof(eal.why), "%s", why);
        eal.has_failed = true;
    } else {
        eal.is_started = true;
        eal.has_pci = pci != NULL;
    }
    return NULL;
}

/* EAL's threads inherit the signal mask of the one that starts it. */
static enum cf_rc start_in_thread(const char *pci, struct cf_error *error)
{
    pthread_t thread;
    int rc = cf_thread_start(&thread, "cf-eal", starter, (void *)(uintptr_t)pci);

    if (rc != 0)
        return fail(error, CF_SYSTEM, strerror(rc), "a thread is needed to start EAL");
    pthread_join(thread, NULL);
    return CF_OK;
}

enum cf_rc xp_dpdk_eal_start(const struct xp_dpdk_address *address, struct cf_error *error)
{
    const char *pci = address->kind == XP_DPDK_PCI ? address->name : NULL;
    enum cf_rc rc = CF_OK;
    char what[LOG_BYTES + 64];

    pthread_mutex_lock(&eal.lock);
    if (pci != NULL && !eal.is_started && !has_hugepages())
        rc = fail(error, CF_MEMORY, "a card needs hugepages and less than 64 MiB of them are free",
                  "sysctl vm.nr_hugepages=512");
    else if (pci != NULL && eal.is_started && !eal.has_pci)
        rc = fail(error, CF_OPTION, "this process has started DPDK for software devices already",
                  "open the network card in a process of its own");
    else if (address->kind == XP_DPDK_MEMIF && eal.has_pci)
        rc = fail(error, CF_OPTION, "this process has started DPDK for a network card already",
                  "open memif in a process of its own");
    else if (!eal.is_started && !eal.has_failed)
        rc = start_in_thread(pci, error);
    if (rc == CF_OK && eal.has_failed) {
        snprintf(what, sizeof(what), "EAL does not start: %.200s", eal.why);
        rc = fail(error, CF_SYSTEM, what, "start the process again; docs/dpdk.md lists what EAL needs");
    }
    pthread_mutex_unlock(&eal.lock);
    return rc;
}

struct xp_dpdk_gate *xp_dpdk_gate_open(void)
{
    struct xp_dpdk_gate *gate = NULL;

    pthread_mutex_lock(&eal.lock);
    for (uint32_t i = 0; i < GATE_USERS_MAX && gate == NULL; i++)
        if (!eal.gates[i].is_taken) {
            gate = &eal.gates[i];
            gate->is_taken = true;
        }
    pthread_mutex_unlock(&eal.lock);
    return gate;
}

void xp_dpdk_gate_close(struct xp_dpdk_gate *gate)
{
    pthread_mutex_lock(&eal.lock);
    gate->is_taken = false;
    pthread_mutex_unlock(&eal.lock);
}

/* Dekker's pattern with its cost on one side: the rare one, park, makes every thread of the process pass a barrier. */
bool xp_dpdk_gate_enter(struct xp_dpdk_gate *gate)
{
    atomic_store_explicit(&gate->inside, 1, memory_order_relaxed);
    if (CF_LIKELY(eal.has_membarrier))
        atomic_signal_fence(memory_order_seq_cst); /* partner: the membarrier of park */
    else
        cf_fence_full();
    if (CF_LIKELY(atomic_load_explicit(&eal.closed, memory_order_acquire) == 0))
        return true;
    atomic_store_explicit(&gate->inside, 0, memory_order_release);
    return false;
}

void xp_dpdk_gate_leave(struct xp_dpdk_gate *gate)
{
    atomic_store_explicit(&gate->inside, 0, memory_order_release);
}

void xp_dpdk_gate_force(struct xp_dpdk_gate *gate)
{
    while (!xp_dpdk_gate_enter(gate))
        sched_yield();
}

void xp_dpdk_gate_turn(void)
{
    if (!eal.has_pci)
        sem_post(&eal.asked);
}
