/* SPDX-License-Identifier: Apache-2.0 */
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/facts.h"
#include "bench/figures.h"
#include "bench/harness.h"

namespace
{

// Iterations between two looks at the harness: its cost is divided by this.
constexpr uint64_t kBatch = 1024;

// What `cachefusion bench` reads, and nothing else. Threads of a run share the work: real time then.
class FigureReporter : public benchmark::BenchmarkReporter
{
  public:
    bool ReportContext(const Context &) override { return true; }
    void ReportRuns(const std::vector<Run> &runs) override
    {
        for (const Run &run : runs)
            if (!run.error_occurred)
                std::printf("figure %s%s %.6g ns\n", run.run_name.function_name.c_str(),
                            run.threads > 1 ? "/2-threads" : "",
                            run.threads > 1 ? run.GetAdjustedRealTime() : run.GetAdjustedCPUTime());
    }
};

// Threads of a run meet in the harness before the first and after the last iteration: thread 0 opens before,
// closes behind, and the others see the state in between.
struct Running {
    const bench_case *what;
    void *state = nullptr;
};

void run_case(benchmark::State &state, Running *running, uint64_t arg)
{
    const bench_case *what = running->what;
    const uint32_t thread = static_cast<uint32_t>(state.thread_index());

    if (thread == 0 && what->open != nullptr)
        running->state = what->open(arg, static_cast<uint32_t>(state.threads()));
    if (std::getenv("CF_BENCH_CPUS") != nullptr)
        bench_pin(static_cast<int>(thread % 2));
    const uint64_t batch = what->batch > 0 ? what->batch : kBatch;

    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(batch)))
        what->run(running->state, thread, batch);
    if (what->bytes != 0)
        state.SetBytesProcessed(
            static_cast<int64_t>(static_cast<uint64_t>(state.iterations()) * what->bytes));
    if (thread == 0 && what->close != nullptr) {
        what->close(running->state);
        running->state = nullptr;
    }
}

void add_case(const bench_case *what)
{
    const uint32_t count = what->args_count > 0 ? what->args_count : 1;

    for (uint32_t i = 0; i < count; i++) {
        const uint64_t arg = what->args_count > 0 ? what->args[i] : 0;
        std::string name = what->name;
        // Lives as long as the registry of the harness, which is as long as the process.
        auto *running = new Running{what};

        if (what->args_count > 0)
            name += "/" + std::to_string(arg);
        auto *added = benchmark::RegisterBenchmark(
            name.c_str(), [running, arg](benchmark::State &state) { run_case(state, running, arg); });
        if (what->threads > 1)
            added->Threads(static_cast<int>(what->threads))->UseRealTime();
    }
}

void add_fact(void *, const char *name, const char *value)
{
    benchmark::AddCustomContext(name, value);
}

} // namespace

extern "C" int bench_main(int argc, char **argv, const bench_case *cases, uint32_t cases_count)
{
    std::vector<std::string> words;
    std::vector<char *> pointers;

    for (int i = 0; i < argc; i++) {
        if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
            words.push_back(std::string("--benchmark_out=") + argv[++i]);
            words.push_back("--benchmark_out_format=json");
        } else if (std::strcmp(argv[i], "--list") == 0) {
            words.push_back("--benchmark_list_tests=true");
        } else {
            words.push_back(argv[i]);
        }
    }
    for (std::string &word : words)
        pointers.push_back(&word[0]);
    int count = static_cast<int>(pointers.size());
    pointers.push_back(nullptr);
    benchmark::Initialize(&count, pointers.data());
    if (benchmark::ReportUnrecognizedArguments(count, pointers.data()))
        return 2;
    bench_facts(add_fact, nullptr);
    for (uint32_t i = 0; i < cases_count; i++)
        add_case(&cases[i]);
    FigureReporter figures;
    const bool is_driven = std::getenv("CF_BENCH_CPUS") != nullptr;
    const size_t ran = is_driven ? benchmark::RunSpecifiedBenchmarks(&figures)
                                 : benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    if (ran == 0)
        std::fprintf(stderr, "%s: no benchmark has such a name\n", argv[0]);
    return ran == 0 ? 1 : 0;
}
