# SPDX-License-Identifier: Apache-2.0
# One make process. `make help` lists the targets; docs are in README.md and base/README.md.

BUILD ?= build
CONFIG ?= release
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
JOBS ?= 2
V ?= 0
FULL ?= 0
VERSION := 0.1.0
ABI := 0
OUT := $(BUILD)/$(CONFIG)
comma := ,

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
ifeq ($(origin AR),default)
AR := ar
endif
CFLAGS ?=
LDFLAGS ?=

ifeq ($(CONFIG),release)
CONFIG_FLAGS := -O2 -g -fno-omit-frame-pointer
else ifeq ($(CONFIG),debug)
CONFIG_FLAGS := -O1 -g -fno-omit-frame-pointer -DCF_DEBUG
else ifeq ($(CONFIG),asan)
CONFIG_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -DCF_DEBUG
CONFIG_LINK := -fsanitize=address,undefined
else ifeq ($(CONFIG),tsan)
CONFIG_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=thread -DCF_DEBUG
CONFIG_LINK := -fsanitize=thread
else ifeq ($(CONFIG),fuzz)
# libFuzzer, so CC=clang; `make fuzz` says so. Only the fuzz targets link in this configuration.
CONFIG_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -DCF_DEBUG
CONFIG_LINK := -fsanitize=fuzzer,address,undefined
else
$(error CONFIG=$(CONFIG) is none of release, debug, asan, tsan, fuzz)
endif

WARN := -Wall -Wextra -Wshadow -Wundef -Wwrite-strings
WARN_C := $(WARN) -Wstrict-prototypes -Wmissing-prototypes -Wvla
ifeq ($(WERROR),1)
WARN += -Werror
WARN_C += -Werror
endif
COMMON := -I. -Iinclude -D_GNU_SOURCE -fPIC -fno-common -fvisibility=hidden -pthread
C_FLAGS := -std=c11 $(COMMON) $(WARN_C) $(CONFIG_FLAGS) $(CPPFLAGS) $(CFLAGS)
CXX_FLAGS := -std=c++17 $(filter-out -fno-common,$(COMMON)) $(WARN) $(CONFIG_FLAGS) $(CPPFLAGS) $(CXXFLAGS)
LINK_FLAGS := $(CONFIG_LINK) -pthread -Wl,--as-needed $(LDFLAGS)
LIBS := -libverbs -lrdmacm -lck -luring -lsodium -lisal -lhwloc -linih -ljansson -lmicrohttpd -lpthread -lrt -lm
TOOL_LIBS := -lncursesw
# jemalloc serves the command alone: a library linked to it could not be dlopened, and the sanitizers bring
# an allocator of their own.
COMMAND_LIBS := $(if $(filter release debug,$(CONFIG)),-Wl$(comma)--no-as-needed -ljemalloc -Wl$(comma)--as-needed)

# --- sources ---------------------------------------------------------------------------------------------

LAYERS := base transport grd engine
base_src := $(sort $(wildcard base/*.c))
# transport/dpdk is a module of its own, where libdpdk is installed: the library does not depend on it.
dpdk_src := $(sort $(wildcard transport/dpdk/*.c))
has_dpdk := $(shell pkg-config --exists libdpdk 2>/dev/null && echo 1)
transport_src := $(filter-out $(dpdk_src),$(sort $(wildcard transport/*.c transport/*/*.c)))
grd_src := $(sort $(wildcard grd/*.c))
engine_src := $(sort $(wildcard engine/*.c))
lib_src := $(foreach l,$(LAYERS),$($(l)_src))

# Files named mutant*.c hold planted protocol mistakes and exist in cachefusion-sim only.
main_src := $(firstword $(wildcard tools/main.c tools/cachefusion.c))
tools_mutant_src := $(sort $(wildcard tools/sim/mutant*.c))
tools_src := $(filter-out $(main_src) $(tools_mutant_src),$(sort $(wildcard tools/*.c tools/*/*.c)))

unit_src := $(sort $(wildcard tests/unit/*/*_test.c))
regress_src := $(sort $(wildcard tests/regress/*_test.c))
sim_src := $(sort $(wildcard tests/sim/*_sim.c))
litmus_src := $(sort $(wildcard tests/litmus/*_litmus.c))
stress_src := $(sort $(wildcard tests/stress/*_stress.c))
shell_src := $(sort $(wildcard tests/shell/*.sh))
fuzz_src := $(sort $(wildcard tests/fuzz/*_fuzz.c))
# Need an RDMA device: run by scripts/test-rdma, in the soft-RoCE lab or on a host that has one.
hw_src := $(sort $(wildcard tests/hw/*_hw.c))
fuzz_help_src := $(filter-out $(fuzz_src),$(sort $(wildcard tests/fuzz/*.c)))
test_src := $(unit_src) $(regress_src) $(sim_src) $(litmus_src) $(stress_src) $(fuzz_src) $(hw_src)
test_help_src := $(filter-out $(test_src) $(fuzz_help_src),$(sort $(wildcard tests/*/*.c tests/unit/*/*.c)))

bench_dpdk_help_src := $(if $(has_dpdk),bench/bare_memif.c)
bench_help_src := $(sort $(wildcard bench/harness*.c bench/xp_side.c bench/members.c) $(bench_dpdk_help_src))
bench_dpdk_src := $(sort $(wildcard bench/dpdk_*.c))
bench_src := $(filter-out $(bench_help_src) $(if $(has_dpdk),,$(bench_dpdk_src) bench/bare_memif.c),$(sort $(wildcard bench/*.c)))
# Programs that measure others' tables beside ours, where those are installed.
has_peers := $(if $(has_dpdk),$(shell pkg-config --exists liburcu-cds liburcu-memb 2>/dev/null && echo 1))
bench_peers_src := $(if $(has_peers),$(sort $(wildcard bench/peers/*.c)))
bench_peers_bin := $(patsubst bench/peers/%.c,$(OUT)/bench/%,$(bench_peers_src))
bench_cc := $(sort $(wildcard bench/*.cc bench/peers/*.cc))

public_headers := $(sort $(wildcard include/cachefusion/*.h include/cachefusion/*.def))

obj = $(patsubst %.c,$(OUT)/obj/%.o,$(filter %.c,$1)) $(patsubst %.cc,$(OUT)/obj/%.o,$(filter %.cc,$1))
mut = $(patsubst %.c,$(OUT)/mut/%.o,$1)

lib_a := $(OUT)/libcachefusion.a
lib_so := $(OUT)/libcachefusion.so.$(VERSION)
tools_a := $(OUT)/libtools.a
tests_a := $(OUT)/libtests.a
bench_a := $(OUT)/libbench.a
lib_pc := $(OUT)/cachefusion.pc
dpdk_so := $(if $(has_dpdk),$(OUT)/libcachefusion-dpdk.so)
DPDK_CFLAGS := $(if $(has_dpdk),$(patsubst -I%,-isystem %,$(shell pkg-config --cflags libdpdk)) -DALLOW_EXPERIMENTAL_API)
DPDK_LIBS := -lrte_eal -lrte_ethdev -lrte_mempool -lrte_mbuf -lrte_ring -lrte_bus_vdev -lrte_net_ring -Wl,--no-as-needed \
    -lrte_bus_pci -lrte_mempool_stack -lrte_mempool_ring -lrte_net_memif -lrte_net_af_packet -Wl,--as-needed
layer_a := $(foreach l,$(LAYERS),$(OUT)/lib$(l).a)
command := $(if $(main_src),$(OUT)/cachefusion)
command_sim := $(if $(main_src),$(OUT)/cachefusion-sim)
test_bin := $(patsubst %.c,$(OUT)/%,$(test_src))
hw_bin := $(patsubst %.c,$(OUT)/%,$(hw_src))
bench_bin := $(patsubst %.c,$(OUT)/%,$(bench_src))
bench_list := $(OUT)/bench/catalogue.ini
LIBEXEC := $(PREFIX)/libexec/cachefusion

# --- what the test run picks: first parts of test names (see `scripts/test --list`) ------------------------

TEST_release ?= unit regress sim litmus stress shell
TEST_debug ?=
TEST_asan ?= unit regress fuzz stress/engine stress/engine_snapshot
TEST_tsan ?= litmus stress/engine stress/engine_snapshot stress/lock stress/frame stress/xp_wake stress/dpdk_ring unit/base/ring unit/base/log
TEST_FULL_release ?= unit regress sim litmus stress shell
TEST_FULL_debug ?= unit regress sim
TEST_FULL_asan ?= unit regress sim shell fuzz
TEST_FULL_tsan ?= unit regress litmus stress
TEST_TIMEOUT_S ?= 120
# T="unit/base sim" runs only the tests whose names begin so; T=--list shows the names.
T ?=
TEST_FULL_TIMEOUT_S ?= 1800

# --- rules -----------------------------------------------------------------------------------------------

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-5s %s\n'
endif

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: FORCE

all: lib $(command) $(command_sim) $(dpdk_so) ## build library and command (CONFIG=release|debug|asan|tsan, V=1, WERROR=1)
	@echo "built in $(OUT); next: 'make run' shows it at work, 'make test' checks it, 'make help' lists the rest"

lib: $(lib_a) $(lib_so) $(lib_pc) ## build the static and shared library only

tests: $(test_bin) ## build the test programs of this CONFIG

# Changed flags or tools rebuild everything, a changed list of sources only what is made of lists.
define fingerprint
	@mkdir -p $(@D)
	@printf '%s\n' '$1' | cmp -s - $@ || printf '%s\n' '$1' > $@
endef
$(OUT)/flags.stamp: FORCE
	$(call fingerprint,$(CC) $(C_FLAGS) / $(CXX) $(CXX_FLAGS) / $(AR) $(LINK_FLAGS) $(LIBS) $(TOOL_LIBS) $(COMMAND_LIBS))
$(OUT)/sources.stamp: FORCE
	$(call fingerprint,$(lib_src) $(main_src) $(tools_src) $(tools_mutant_src) $(test_help_src) $(bench_help_src) $(bench_cc))

$(OUT)/obj/%.o: %.c $(OUT)/flags.stamp
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_FLAGS) -MMD -MP -c $< -o $@

# cf_get and cf_put save no register on a hit; a frame pointer would be a tenth of what a hit costs.
$(OUT)/obj/engine/hit.o $(OUT)/obj/engine/lock_hit.o $(patsubst %,$(OUT)/obj/transport/%.o,link/send link/encode link/receive link/ack \
  link/ether link/link dpdk/send dpdk/receive \
  dpdk/frames dpdk/bus lent) $(OUT)/obj/base/crc32c.o: private C_FLAGS += -fomit-frame-pointer

# What a figure was measured with. The commit of another tree's build is told by hand: COMMIT=...
COMMIT ?= $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
$(OUT)/commit.stamp: FORCE
	$(call fingerprint,$(COMMIT) $(CONFIG): $(CONFIG_FLAGS) $(CFLAGS))
$(OUT)/obj/tools/bench/facts.o: private C_FLAGS += -DCF_BUILD_COMMIT='"$(COMMIT)"' \
    -DCF_BUILD_FLAGS='"$(CONFIG): $(CONFIG_FLAGS) $(CFLAGS)"'
$(OUT)/obj/tools/bench/facts.o: $(OUT)/commit.stamp

$(OUT)/mut/%.o: %.c $(OUT)/flags.stamp
	$(say) CC "$< (mutants)"
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_FLAGS) -DCF_MUTANTS=1 -MMD -MP -c $< -o $@

$(OUT)/obj/%.o: %.cc $(OUT)/flags.stamp
	$(say) CXX $<
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXX_FLAGS) -MMD -MP -c $< -o $@

define archive
	$(say) AR $@
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)
endef
define layer_rule
$(OUT)/lib$(1).a: $(call obj,$($(1)_src)) $(OUT)/sources.stamp
	$$(archive)
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))
$(lib_a): $(call obj,$(lib_src)) $(OUT)/sources.stamp
	$(archive)
$(tools_a): $(call obj,$(tools_src)) $(OUT)/sources.stamp
	$(archive)
$(tests_a): $(call obj,$(test_help_src)) $(OUT)/sources.stamp
	$(archive)
$(bench_a): $(call obj,$(bench_help_src) $(bench_cc)) $(OUT)/sources.stamp
	$(archive)

$(OUT)/libcachefusion.map: $(filter %.h,$(public_headers)) scripts/gen-map
	@mkdir -p $(@D)
	$(Q)scripts/gen-map $(filter %.h,$^) > $@

$(lib_so): $(call obj,$(lib_src)) $(OUT)/libcachefusion.map $(OUT)/sources.stamp
	$(say) LD $@
	$(Q)$(CC) -shared -Wl,-soname,libcachefusion.so.$(ABI) -Wl,--version-script=$(OUT)/libcachefusion.map \
	    $(LINK_FLAGS) $(filter %.o,$^) $(LIBS) -o $@
	@ln -sf $(@F) $(OUT)/libcachefusion.so.$(ABI)
	@ln -sf $(@F) $(OUT)/libcachefusion.so

# The module carries its own copies of the few parts it needs: it is loaded by libraries that export none of them.
$(call obj,$(dpdk_src) $(bench_dpdk_src) $(bench_dpdk_help_src) $(bench_peers_src)): private C_FLAGS += $(DPDK_CFLAGS)
$(OUT)/libcachefusion-dpdk.so: $(call obj,$(dpdk_src)) $(OUT)/libtransport.a $(OUT)/libbase.a
	$(say) LD $@
	$(Q)$(CC) -shared $(if $(CONFIG_LINK),,-Wl$(comma)-z$(comma)defs) $(LINK_FLAGS) $^ $(DPDK_LIBS) -lsodium -lisal -lpthread -lrt -lm -o $@

$(OUT)/prefix.stamp: FORCE
	$(call fingerprint,$(PREFIX) $(LIBDIR) $(VERSION))
$(lib_pc): $(OUT)/prefix.stamp
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$${prefix}/include' '' \
	    'Name: cachefusion' 'Description: buffer cache fusion for database instances' 'Version: $(VERSION)' \
	    'Libs: -L$${libdir} -lcachefusion' 'Libs.private: $(LIBS)' 'Cflags: -I$${includedir}' > $@

ifneq ($(main_src),)
$(OUT)/cachefusion: $(call obj,$(main_src)) $(tools_a) $(lib_a)
	$(say) LD $@
	$(Q)$(CC) $(LINK_FLAGS) $^ $(LIBS) $(TOOL_LIBS) $(COMMAND_LIBS) -o $@

$(OUT)/cachefusion-sim: $(call mut,$(main_src) $(tools_src) $(tools_mutant_src) $(lib_src)) $(OUT)/sources.stamp
	$(say) LD $@
	$(Q)$(CC) $(LINK_FLAGS) $(filter %.o,$^) $(LIBS) $(TOOL_LIBS) -o $@
endif

# A unit test is linked with its layer and those below, and with the other sources of its folder: a test that
# needs a layer above does not link, and a broken layer does not keep the tests below it from running.
below_base := base
below_transport := transport base
below_grd := grd transport base
below_engine := engine grd transport base
define unit_layer_rule
$(OUT)/libunit-$(1).a: $(call obj,$(filter tests/unit/$(1)/%,$(test_help_src))) $(OUT)/sources.stamp
	$$(archive)
$(patsubst %.c,$(OUT)/%,$(filter tests/unit/$(1)/%,$(unit_src))): $(OUT)/tests/%: $(OUT)/obj/tests/%.o \
    $(OUT)/libunit-$(1).a $(if $(below_$(1)),$(foreach l,$(below_$(1)),$(OUT)/lib$(l).a),$(tests_a) $(tools_a) $(lib_a))
	$$(link_test)
endef
define link_test
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK_FLAGS) $^ $(LIBS) $(TOOL_LIBS) -lcmocka -o $@
endef
$(foreach l,$(sort $(patsubst tests/unit/%/,%,$(dir $(unit_src)))),$(eval $(call unit_layer_rule,$(l))))
# Loaded when they run.
$(patsubst %.c,$(OUT)/%,$(filter tests/unit/transport/dpdk_% tests/stress/dpdk_%,$(unit_src) $(stress_src))): | $(dpdk_so)

# Fuzz targets: their own main without libFuzzer, libFuzzer's with it.
fuzz_bin := $(patsubst %.c,$(OUT)/%,$(fuzz_src))
$(fuzz_bin): $(OUT)/tests/%: $(OUT)/obj/tests/%.o \
    $(call obj,$(if $(filter fuzz,$(CONFIG)),$(filter-out %/driver.c,$(fuzz_help_src)),$(fuzz_help_src))) \
    $(OUT)/libunit-grd.a $(foreach l,$(below_engine),$(OUT)/lib$(l).a)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK_FLAGS) $^ $(LIBS) -o $@

$(patsubst %.c,$(OUT)/%,$(filter-out $(unit_src) $(fuzz_src),$(test_src))): $(OUT)/tests/%: $(OUT)/obj/tests/%.o $(tests_a) $(tools_a) $(lib_a)
	$(link_test)

$(patsubst %.c,$(OUT)/%,$(bench_dpdk_src)): private LIBS += $(DPDK_LIBS)
$(patsubst %.c,$(OUT)/%,$(bench_dpdk_src)): | $(dpdk_so)
$(bench_bin): $(OUT)/bench/%: $(OUT)/obj/bench/%.o $(bench_a) $(tools_a) $(lib_a)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CXX) $(LINK_FLAGS) $^ $(if $(bench_cc),-lbenchmark) $(LIBS) $(TOOL_LIBS) -o $@

$(bench_peers_bin): $(OUT)/bench/%: $(OUT)/obj/bench/peers/%.o $(lib_a)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK_FLAGS) $^ $(LIBS) $(DPDK_LIBS) -lrte_hash -lurcu-memb -lurcu-cds -lurcu-common -o $@

-include $(patsubst %.o,%.d,$(call obj,$(bench_peers_src) $(lib_src) $(dpdk_src) $(main_src) $(tools_src) $(test_src) $(test_help_src) \
    $(fuzz_help_src) $(bench_src) $(bench_help_src) $(bench_cc)) $(call mut,$(lib_src) $(main_src) $(tools_src) $(tools_mutant_src)))

# --- run and check -----------------------------------------------------------------------------------------

.PHONY: all lib tests hw run test test-rdma test-dpdk test-full fuzz fuzz-run bench bench-build bench-peers report lint check-layers check-headers check-format check-static check-shell \
    format setup install uninstall clean help compile_commands.json

setup: ## install missing packages (apt-get; says what it would need without root)
	@scripts/setup

run: setup ## build, then show instances sharing blocks
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@BIN=$(OUT)/cachefusion BUILD_DIR=$(OUT) scripts/run-demo

test_env = BUILD='$(BUILD)' MAKE='$(MAKE)' CC='$(CC)' JOBS='$(JOBS)' V='$(V)' FULL='$(1)' TIMEOUT_S='$(2)' \
    TEST_release='$($(3)release)' TEST_debug='$($(3)debug)' TEST_asan='$($(3)asan)' TEST_tsan='$($(3)tsan)'

test: setup ## build and run the tests of every submission (T="unit/base sim" only some, T=--list names)
	@$(call test_env,$(FULL),$(if $(filter 1,$(FULL)),$(TEST_FULL_TIMEOUT_S),$(TEST_TIMEOUT_S)),$(if $(filter 1,$(FULL)),TEST_FULL_,TEST_)) scripts/test $(T)

test-rdma: setup ## the tests that need verbs: on this host's RDMA device, or in the soft-RoCE lab
	@BUILD='$(BUILD)' CONFIG='$(CONFIG)' MAKE='$(MAKE)' JOBS='$(JOBS)' scripts/test-rdma

hw: $(hw_bin) $(command) ## build the tests that need an RDMA device

test-dpdk: ## the dpdk: transport over DPDK's software devices, with faults
	@BUILD='$(BUILD)' CONFIG='$(CONFIG)' JOBS='$(JOBS)' scripts/test-dpdk

test-full: setup ## the same with more seeds, longer stress and all configurations
	@$(call test_env,1,$(TEST_FULL_TIMEOUT_S),TEST_FULL_) scripts/test $(T)

# make t/base/wheel, t/sim/loss, t/shell/install ...: one test, with its output.
define test_rule
.PHONY: t/$(1)
t/$(1): $(2) $(3)
	@BIN=$(OUT)/cachefusion SIM_BIN=$(OUT)/cachefusion-sim BUILD_DIR=$(OUT) FULL=$(FULL) $(if $(filter %.sh,$(2)),bash )$(2)
endef
$(foreach t,$(unit_src),$(eval $(call test_rule,$(patsubst tests/unit/%_test.c,%,$t),$(patsubst %.c,$(OUT)/%,$t))))
$(foreach t,$(regress_src),$(eval $(call test_rule,$(patsubst tests/%_test.c,%,$t),$(patsubst %.c,$(OUT)/%,$t))))
$(foreach t,$(sim_src),$(eval $(call test_rule,$(patsubst tests/%_sim.c,%,$t),$(patsubst %.c,$(OUT)/%,$t))))
$(foreach t,$(litmus_src),$(eval $(call test_rule,$(patsubst tests/%_litmus.c,%,$t),$(patsubst %.c,$(OUT)/%,$t))))
$(foreach t,$(stress_src),$(eval $(call test_rule,$(patsubst tests/%_stress.c,%,$t),$(patsubst %.c,$(OUT)/%,$t))))
$(foreach t,$(fuzz_src),$(eval $(call test_rule,$(patsubst tests/%_fuzz.c,%,$t),$(patsubst %.c,$(OUT)/%,$t))))
$(foreach t,$(shell_src),$(eval $(call test_rule,$(patsubst tests/%.sh,%,$t),$t,$(lib_so) $(lib_a) $(lib_pc) $(command) $(command_sim))))

# New inputs stay in the build directory; what is worth keeping is copied to tests/fuzz/corpus by hand.
FUZZ_S ?= 60
fuzz: setup ## fuzz with clang and libFuzzer for FUZZ_S seconds a target
	@$(MAKE) --no-print-directory -j$(JOBS) CC=clang CONFIG=fuzz fuzz-run
fuzz-run: $(fuzz_bin)
	@set -e; for f in $(fuzz_bin); do name=$$(basename $$f _fuzz); mkdir -p $(OUT)/corpus/$$name; echo "== $$name"; \
	    "$$f" -max_total_time=$(FUZZ_S) -max_len=4096 -print_final_stats=1 -artifact_prefix=$(OUT)/$$name- \
	    $(OUT)/corpus/$$name tests/fuzz/corpus/$$name; done

$(bench_list): bench/catalogue.ini
	@mkdir -p $(@D)
	@cp $< $@

bench-build: $(bench_bin) $(bench_peers_bin) $(bench_list) $(command) ## build the benchmarks

# BENCH="micro fetch" only those whose names begin so; BENCH_ARGS="--quick --transport verbs:".
bench: bench-build ## build and run the benchmarks, results in BUILD/bench/bench.json (BENCH="NAME...", BENCH_ARGS=...)
	@mkdir -p $(BUILD)/bench
	@$(command) bench $(BENCH) --json $(BUILD)/bench/bench.json $(BENCH_ARGS)

# PEERS="--quick --only fetch", see scripts/bench-peers --help.
bench-peers: ## install UCX, libfabric, Redis, memcached, PostgreSQL, Boost and measure beside them (PEERS=...)
	@SETUP_PEERS=1 scripts/setup
	@$(MAKE) --no-print-directory -j$(JOBS) bench-build
	@BIN=$(command) scripts/bench-peers --json $(BUILD)/bench/peers.json $(PEERS)

# Measures what has not been measured; BENCH_ARGS and PEERS shorten it.
report: $(command) ## draw the results of bench and bench-peers: BUILD/report/report.html and PNGs
	@[ -e $(BUILD)/bench/bench.json ] || $(MAKE) --no-print-directory bench
	@[ -e $(BUILD)/bench/peers.json ] || $(MAKE) --no-print-directory bench-peers
	@scripts/report --bench $(BUILD)/bench/bench.json --peers $(BUILD)/bench/peers.json --out $(BUILD)/report

c_files := $(sort $(wildcard $(foreach d,base transport transport/* grd engine tools tools/* bench tests/* tests/unit/* \
    include/cachefusion,$(d)/*.c $(d)/*.h)))

check-layers: ## includes point to the own layer or below
	@scripts/check-layers

check-headers: ## each header compiles alone, the public ones in C++ too
	@CC='$(CC)' CXX='$(CXX)' scripts/check-headers

check-format: ## files are formatted as .clang-format says (lists those that are not)
	@bad=0; for f in $(c_files); do \
	    clang-format --dry-run --Werror $$f >/dev/null 2>&1 || { echo "check-format: $$f ('make format' formats all files)"; bad=1; }; \
	done; exit $$bad

format: ## format all C files in place
	@clang-format -i $(c_files)

check-static: ## cppcheck
	@cppcheck --quiet --std=c11 --language=c --enable=warning,portability --inline-suppr --error-exitcode=1 \
	    --suppress=missingIncludeSystem -D_GNU_SOURCE -D__x86_64__ -I. -Iinclude -j $(JOBS) $(filter %.c,$(c_files))

check-shell: ## shellcheck, where it is installed
	@if command -v shellcheck >/dev/null; then shellcheck -x $(shell grep -slE '^#!.*(bash|sh$$)' scripts/* scripts/lab/* .ci/run) $(shell_src); \
	    else echo "lint: shellcheck is not installed, shell scripts not checked"; fi

lint: check-layers check-headers check-static check-shell check-format ## all checks that do not run the program (-k: past failures)

define commands_entry
{"directory": "$(CURDIR)", "file": "$1", "command": "$(CC) $(C_FLAGS) -c $1"},

endef
compile_commands.json: ## for clangd and other tools
	$(file >$@.tmp,[$(foreach f,$(lib_src) $(main_src) $(tools_src) $(test_src) $(test_help_src) $(bench_src),$(call commands_entry,$f)))
	@sed -e '$$d' $@.tmp | sed -e '$$s/},$$/}]/' > $@ && rm -f $@.tmp

install: lib $(command) $(dpdk_so) $(bench_bin) $(bench_list) ## install under DESTDIR/PREFIX
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include/cachefusion $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(lib_a) $(DESTDIR)$(LIBDIR)/
	install -m 755 $(lib_so) $(DESTDIR)$(LIBDIR)/
	ln -sf libcachefusion.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libcachefusion.so.$(ABI)
	ln -sf libcachefusion.so.$(ABI) $(DESTDIR)$(LIBDIR)/libcachefusion.so
	install -m 644 $(lib_pc) $(DESTDIR)$(LIBDIR)/pkgconfig/
	$(if $(public_headers),install -m 644 $(public_headers) $(DESTDIR)$(PREFIX)/include/cachefusion/)
	$(if $(command),install -m 755 $(command) $(DESTDIR)$(PREFIX)/bin/)
	install -d $(DESTDIR)$(LIBEXEC)
	install -m 755 $(bench_bin) $(DESTDIR)$(LIBEXEC)/
	install -m 644 $(bench_list) $(DESTDIR)$(LIBEXEC)/
	$(if $(dpdk_so),install -d $(DESTDIR)$(LIBDIR)/cachefusion && install -m 755 $(dpdk_so) $(DESTDIR)$(LIBDIR)/cachefusion/)

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(LIBDIR)/libcachefusion.a $(DESTDIR)$(LIBDIR)/libcachefusion.so $(DESTDIR)$(LIBDIR)/libcachefusion.so.$(ABI) \
	    $(DESTDIR)$(LIBDIR)/libcachefusion.so.$(VERSION) $(DESTDIR)$(LIBDIR)/pkgconfig/cachefusion.pc $(DESTDIR)$(PREFIX)/bin/cachefusion
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/include/cachefusion/,$(notdir $(public_headers)))
	rm -f $(DESTDIR)$(LIBDIR)/cachefusion/libcachefusion-dpdk.so
	rm -f $(addprefix $(DESTDIR)$(LIBEXEC)/,$(notdir $(bench_bin) $(bench_list)))
	-rmdir $(DESTDIR)$(LIBEXEC) 2>/dev/null
	-rmdir $(DESTDIR)$(PREFIX)/include/cachefusion $(DESTDIR)$(LIBDIR)/cachefusion 2>/dev/null

clean: ## remove the build directory
	rm -rf $(BUILD) compile_commands.json

help: ## this list
	@grep -hE '^[a-zA-Z_./-]+:.*## ' Makefile | sed -E 's/^([^:]+):.*## (.*)/  \1\t\2/' | expand -t 26
	@printf '  %-23s %s\n' 't/LAYER/NAME' 'run one unit test (t/sim/NAME, t/stress/NAME, t/shell/NAME ... the other kinds)'
