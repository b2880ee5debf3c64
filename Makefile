# forecastd: build, tests and benches. `make help` lists the targets.
# SPDX-License-Identifier: Apache-2.0

CC      ?= gcc
BUILD   ?= build
V       ?= 0

# Packages come from deploy/install-deps.sh; pthread-OpenBLAS by full name, because the serial flavour
# gives wrong results when two threads call it (ARCHITECTURE.md, "OpenBLAS").
PKG      = libmicrohttpd jansson sqlite3 yaml-0.1 zlib libzstd gnutls
BLAS_DIR := $(firstword $(wildcard /usr/lib/*/openblas-pthread))
CPPFLAGS += -I. -D_GNU_SOURCE -isystem /usr/include/$(notdir $(patsubst %/openblas-pthread,%,$(BLAS_DIR)))/openblas-pthread

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
           -Wold-style-definition -Wvla -Walloca -Wpointer-arith -Wwrite-strings -Wcast-qual \
           -Wformat=2 -Wundef -Wfloat-conversion -Wdouble-promotion -Wswitch-enum -Wimplicit-fallthrough
WARNINGS += $(if $(DEVELOPER),-Werror)
# tests/packaging/test_hardening.py looks whether they have arrived in the program.
HARDEN   = -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=3 -fPIE \
           $(if $(filter x86_64,$(shell uname -m)),-fcf-protection=full)
CFLAGS  ?= -O2 -g
# No fast-math: finite checks must mean something. Contraction and errno-free math change no such thing.
ALLFLAGS = -std=gnu17 $(CFLAGS) $(WARNINGS) $(HARDEN) -pthread -fno-math-errno -fno-trapping-math -fopenmp-simd -MMD -MP
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
LDLIBS   = -lmicrohttpd -lgnutls -lseccomp -ljansson -lsqlite3 -lyaml -lz -lzstd -lsnappy -lm -pthread

# Flavours, each in its own folder: make SAN=address,undefined ...   make DOUBLE=1 ...   make DEBUG=1 ...
comma := ,
ifdef SAN
override BUILD := $(BUILD)/$(subst $(comma),-,$(SAN))
# -O1 compiles in 60 % of -O2's time, which the tests run longer by less.
ALLFLAGS += -O1 -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all -U_FORTIFY_SOURCE -DFORECASTD_SANITIZED
LDFLAGS  += -fsanitize=$(SAN)
endif
# The model in double precision, for gradient checks only.
ifdef DOUBLE
override BUILD := $(BUILD)/double
CPPFLAGS += -DFORECASTD_DOUBLE
endif
ifdef DEBUG
override BUILD := $(BUILD)/debug
ALLFLAGS += -O0 -DFORECASTD_DEBUG
endif

# Counts which lines and branches run (make coverage). It is an instrumented build as the sanitized ones
# are: what it counts is written at the end, which the sandbox would forbid. The kernels' loops are
# counted without atomics, or they would take all of the time.
ifdef COVERAGE
override BUILD := $(BUILD)/coverage
ALLFLAGS += --coverage -fprofile-update=atomic -O1 -fno-inline -U_FORTIFY_SOURCE \
            -DFORECASTD_SANITIZED -DFORECASTD_COUNTED
LDFLAGS  += --coverage
endif
# For valgrind: what tests/watched.h shortens is short here, too.
ifdef VALGRIND
override BUILD := $(BUILD)/valgrind
ALLFLAGS += -O1 -DFORECASTD_SANITIZED
endif

VERSION := $(shell cat VERSION 2>/dev/null || echo 0.0.0)
CPPFLAGS += -DFORECASTD_VERSION='"$(VERSION)"'

Q = $(if $(filter 1,$(V)),,@)

# ---------------------------------------------------------------- sources: the folder decides the library
SRC_base    := $(wildcard base/*.c)
SRC_storage := $(wildcard storage/*.c)
SRC_model   := $(wildcard model/*.c model/tape/*.c model/ops/*.c model/layers/*.c model/backbones/*.c \
                 model/training/*.c model/serving/*.c)
SRC_api     := $(wildcard api/*.c)
SRC_server  := $(filter-out server/main.c,$(wildcard server/*.c))
LIBS        := server api model storage base

lib = $(BUILD)/lib$(1).a
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

.PHONY: all
all: $(BUILD)/forecastd ## build the daemon

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  cc      $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALLFLAGS) $(EXTRA_$<) -c $< -o $@

# The vector kernels are compiled once a level of instruction set and chosen at start (model/ops/kernels.h).
ARCH := $(shell uname -m)
ifeq ($(ARCH),x86_64)
KERNEL_LEVELS = base v3 v4
KERNEL_FLAGS_v3 = -march=x86-64-v3
KERNEL_FLAGS_v4 = -march=x86-64-v4 -mprefer-vector-width=512
else
KERNEL_LEVELS = base
endif
# Kernels are plain loops over the caller's own arrays: watching each access for races would only make
# the thread flavour ten times slower.
KERNEL_ALLFLAGS = $(filter-out -fsanitize=thread -fprofile-update=atomic,$(ALLFLAGS))
# Nor are checked loops made faster by -O3: it only compiles twice as long (a kernel 8 s with -O1, 13 s
# with -O2, and there are 36 of them).
KERNEL_OPTIMIZE = $(if $(filter -DFORECASTD_SANITIZED,$(ALLFLAGS)),-O1,-O3)
SRC_kernels := $(wildcard model/ops/kernels/*.c)
define kernel_rule
$(BUILD)/%.$(1).o: %.c
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  cc $(1)   $$<")
	$$(Q)$$(CC) $$(CPPFLAGS) $$(KERNEL_ALLFLAGS) $$(KERNEL_OPTIMIZE) $$(KERNEL_FLAGS_$(1)) -DKERNEL_LEVEL=$(1) -c $$< -o $$@
endef
$(foreach level,$(KERNEL_LEVELS),$(eval $(call kernel_rule,$(level))))
OBJ_kernels := $(foreach level,$(KERNEL_LEVELS),$(patsubst %.c,$(BUILD)/%.$(level).o,$(SRC_kernels)))

define lib_rule
$(BUILD)/lib$(1).a: $(call obj,$(SRC_$(1))) $(if $(filter model,$(1)),$(OBJ_kernels))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
endef
$(foreach l,$(LIBS),$(eval $(call lib_rule,$(l))))

$(BUILD)/forecastd: $(BUILD)/server/main.o $(foreach l,$(LIBS),$(call lib,$(l)))
	$(if $(Q),@echo "  link    $@")
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# ---------------------------------------------------------------- tests: the folder decides what is linked
# tests/unit/<layer>/test_x.c links the layer and what is below it; the other suites name theirs here.
below_base    = base
below_storage = storage base
below_model   = model base
below_api     = api model storage base
below_server  = server api model storage base
layer_of_contract = storage
layer_of_gradient = model
layer_of_reference = model
layer_of_backbone = model
layer_of_golden = model
layer_of_bench = server
layer_of_fuzz = server
layer_of_torture = server
layer_of_load = server

SUITES := $(patsubst tests/%/,%,$(wildcard tests/unit/*/)) $(filter $(patsubst layer_of_%,%,$(filter layer_of_%,$(.VARIABLES))),\
            $(patsubst tests/%/,%,$(wildcard tests/*/)))
suite_layer = $(if $(filter unit/%,$(1)),$(patsubst unit/%,%,$(1)),$(layer_of_$(1)))

# A suite's test_*.c are programs; its other .c files are helpers linked into each of them.
define suite_rule
PROGRAMS_$(1) := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/$(1)/test_*.c tests/$(1)/bench_*.c))
HELPERS_$(1)  := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(wildcard tests/$(1)/test_*.c tests/$(1)/bench_*.c),$(wildcard tests/$(1)/*.c)))
$$(PROGRAMS_$(1)): $(BUILD)/tests/$(1)/%: $(BUILD)/tests/$(1)/%.o $$(HELPERS_$(1)) $(foreach l,$(below_$(call suite_layer,$(1))),$(call lib,$(l)))
	$$(if $$(Q),@echo "  link    $$@")
	$$(Q)$$(CC) $$(ALLFLAGS) $$(LDFLAGS) -o $$@ $$^ -lcmocka $$(LDLIBS)
.PHONY: build/$(1) check/$(1)
build/$(1): $$(PROGRAMS_$(1))
check/$(1): build/$(1) ## run one suite
	$$(Q)sh tests/run.sh $$(PROGRAMS_$(1))
endef
$(foreach s,$(SUITES),$(eval $(call suite_rule,$(s))))

# The load programs measure with what the benches measure with.
$(PROGRAMS_load): $(patsubst %,$(BUILD)/tests/bench/%.o,load process)

# Allocation faults reach the libraries below the product, too.
$(BUILD)/tests/unit/api/test_no_memory: $(BUILD)/tests/torture/fault_malloc.o

CORE_SUITES = $(filter unit/%,$(SUITES)) contract reference backbone golden torture

# ---------------------------------------------------------------- what a newcomer types, and the longer suites
PYTHON ?= python3
CORES  := $(shell nproc 2>/dev/null || echo 2)

# The page is compiled in, compressed; its style sheets as one file, because the first paint waits for them.
UI_STYLES  = api/ui/base.css api/ui/list.css api/ui/series.css api/ui/pages.css api/ui/vendor/uPlot.min.css
UI_SOURCES = $(wildcard api/ui/*.html api/ui/*.js api/ui/*.svg api/ui/vendor/*.js)
UI_PACKED  = $(BUILD)/api/ui/page.css.gz $(UI_SOURCES:%=$(BUILD)/%.gz)
$(BUILD)/api/ui/page.css.gz: $(UI_STYLES)
	@mkdir -p $(@D)
	$(Q)cat $^ | gzip -9nc >$@.new && mv $@.new $@
$(BUILD)/api/ui/%.gz: api/ui/%
	@mkdir -p $(@D)
	$(Q)gzip -9nc $< >$@.new && mv $@.new $@
# The description of the routes goes with them.
OPENAPI_PARTS = api/openapi/join.sh $(wildcard api/openapi/*.json api/openapi/*/*.json)
$(BUILD)/api/ui/openapi.json.gz: $(OPENAPI_PARTS) $(wildcard VERSION)
	@mkdir -p $(@D)
	$(Q)sh api/openapi/join.sh $(VERSION) >$@.plain && gzip -9nc $@.plain >$@.new && mv $@.new $@
$(BUILD)/api/ui_assets.o: $(UI_PACKED) $(BUILD)/api/ui/openapi.json.gz
EXTRA_api/ui_assets.c = -DUI_PACKED='"$(BUILD)/api/ui/"'

# The checks without a compiled program of their own (python3; check/http needs its jsonschema, too).
.PHONY: lint
lint: ## include directions, banned functions, sizes, style
	$(Q)$(PYTHON) tests/lint/lint.py

# The thread sanitizer runs the modules where threads meet: network and workers with the writer, alerts with
# webhooks, the broker, the scheduler and its jobs, reloading, starting and stopping.
HTTP_THREADS = $(patsubst %,test_%.,access forecast forecast_metrics jobs line_protocol mqtt points process \
    remote_write service webhooks)
.PHONY: check/http
check/http: $(BUILD)/forecastd ## black-box suite against the running daemon
	$(Q)FORECASTD=$(BUILD)/forecastd $(PYTHON) tests/http/run.py $(if $(filter thread,$(SAN)),$(HTTP_THREADS))

.PHONY: test-clients
test-clients: $(BUILD)/forecastd ## clients as they are packaged, against the daemon
	$(Q)sh deploy/install-deps.sh clients
	$(Q)FORECASTD=$(BUILD)/forecastd SUITE=tests/clients $(PYTHON) tests/http/run.py

# How often the daemon is killed while it serves and while it migrates, and backup and restore.
CRASH_KILLS ?= 20
MIGRATION_KILLS ?= 20
COPY_KILLS ?= 18
CRASH_JOBS ?= 1
.PHONY: check/crash
check/crash: $(BUILD)/forecastd ## kill -9 of the daemon in whatever it does, of backup and restore: a short round
	$(Q)FORECASTD=$(BUILD)/forecastd CRASH_KILLS=$(CRASH_KILLS) CRASH_JOBS=$(CRASH_JOBS) \
	    MIGRATION_KILLS=$(MIGRATION_KILLS) COPY_KILLS=$(COPY_KILLS) $(PYTHON) tests/crash/run.py

.PHONY: crash
crash: ## the same with 300 kills of the daemon, 200 while it migrates, 150 of backup and restore
	$(Q)$(MAKE) --no-print-directory check/crash CRASH_KILLS=300 MIGRATION_KILLS=200 COPY_KILLS=150

# 10,000 power cuts, every I/O operation and allocation of the scenarios, full disks, 5,000 kills.
# TORTURE_SHARE=N: a fraction of it. The short forms of the same programs are the suite "torture".
TORTURE_SHARE ?= 1
.PHONY: torture
torture: ## faults in full: half an hour on two cores; prints its counts
	$(Q)$(MAKE) --no-print-directory -j$(CORES) all build/torture build/contract build/unit/api
	$(Q)TORTURE_SHARE=$(TORTURE_SHARE) PYTHON=$(PYTHON) sh tests/torture/run.sh $(abspath $(BUILD))

# CROWD, CROWD_SECONDS, OVERLOAD_SECONDS, STARVATION_SECONDS, PARTS shorten it: see tests/load/run.sh.
.PHONY: bench-load
bench-load: ## a hostile crowd, overload, serving while training, starvation: nine minutes; prints its counts
	$(Q)$(MAKE) --no-print-directory -j$(CORES) all build/load
	$(Q)sh tests/load/run.sh $(BUILD)

# SOAK_MINUTES=1 is the form for CI.
SOAK_MINUTES ?= 45
.PHONY: soak
soak: ## writes, reads, trainings, SIGHUP, backups for SOAK_MINUTES; nothing may grow
	$(Q)$(MAKE) --no-print-directory -j$(CORES) all build/load
	$(Q)$(BUILD)/tests/load/bench_soak $(BUILD)/forecastd $(SOAK_MINUTES)

.PHONY: check/browser
check/browser: $(BUILD)/forecastd ## the page in headless Chromium; writes docs/page*.png
	$(Q)sh deploy/install-deps.sh browser
	$(Q)FORECASTD=$(BUILD)/forecastd sh tests/browser/run.sh

.PHONY: deps
deps: ## install what building, testing and the demo need
	$(Q)sh deploy/install-deps.sh build demo test

# ---------------------------------------------------------------- the two commands of the README

.PHONY: run
run: ## build, start on 127.0.0.1:7380 with sample data, train, serve until Ctrl-C
	$(Q)sh deploy/install-deps.sh build demo
	$(Q)$(MAKE) -s -q all 2>/dev/null || { mkdir -p $(BUILD); \
	    echo "building $(BUILD)/forecastd, about a minute the first time"; \
	    $(MAKE) --no-print-directory -j$(CORES) all >$(BUILD)/build.log 2>&1 || \
	    { tail -n 30 $(BUILD)/build.log; exit 1; }; }
	$(Q)sh deploy/run.sh $(BUILD)/forecastd

.PHONY: test
test: ## the core suites, under 20 minutes on two cores
	$(Q)sh deploy/install-deps.sh build demo test packaging
	$(Q)$(MAKE) --no-print-directory -j$(CORES) DEVELOPER=1 all $(addprefix build/,$(CORE_SUITES))
	$(Q)DEVELOPER=1 sh deploy/test.sh lint $(addprefix check/,$(CORE_SUITES)) \
	    check/gradient,DOUBLE=1 check/backbone,DOUBLE=1 check/http check/crash check/packaging

# Address and undefined behaviour over everything that parses or stores; threads over what shares.
ASAN_SUITES = $(filter unit/%,$(SUITES)) contract reference backbone golden torture
TSAN_SUITES = $(filter unit/storage unit/server unit/api contract,$(SUITES))
# Of base and model, whose other programs are alone: those that start threads, or whose trainings do.
# The longest come first, so that two at a time end together.
TSAN_PROGRAMS = $(addprefix $(BUILD)/tests/unit/model/test_,train streams snapshot group_training gate blend \
    gate_verdict synthetic features_kept blas optimizer tape) \
    $(addprefix $(BUILD)/tests/unit/base/test_,background log time_zone lock memory queue)
.PHONY: build/threads check/threads
build/threads: $(TSAN_PROGRAMS)
check/threads: build/threads ## the programs of base and model that start threads
	$(Q)sh tests/run.sh $(TSAN_PROGRAMS)
.PHONY: test-sanitized
test-sanitized: ## the suites again under ASan and UBSan, then under TSan
	$(Q)sh deploy/install-deps.sh build demo test
	$(Q)$(MAKE) --no-print-directory -j$(CORES) SAN=address,undefined all build/corpora \
	    $(addprefix build/,$(ASAN_SUITES))
	$(Q)$(MAKE) --no-print-directory -j$(CORES) SAN=thread all build/threads $(addprefix build/,$(TSAN_SUITES))
	$(Q)ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
	    HTTP_SHORT=1 TEST_JOBS=$(CORES) sh deploy/test.sh \
	    $(patsubst %,check/%$(comma)SAN=address+undefined,corpora $(ASAN_SUITES) http) \
	    $(patsubst %,check/%$(comma)SAN=thread,$(TSAN_SUITES) threads http)

# Corpora run before the suites: so the parsers are judged by them alone, and the suites come on top.
COVERAGE_SUITES = $(filter unit/%,$(SUITES)) contract reference backbone torture
.PHONY: coverage coverage/begin coverage/parsers coverage/report
coverage: ## lines and branches of own code that run in the suites, branches of each parser by its corpus
	$(Q)sh deploy/install-deps.sh build demo test coverage
	$(Q)$(MAKE) --no-print-directory -j$(CORES) COVERAGE=1 coverage/begin
	$(Q)TEST_JOBS=$(CORES) HTTP_SHORT=1 sh deploy/test.sh check/corpora,COVERAGE=1 coverage/parsers,COVERAGE=1 \
	    $(patsubst %,check/%$(comma)COVERAGE=1,$(COVERAGE_SUITES) http) coverage/report,COVERAGE=1
coverage/begin: all build/corpora $(addprefix build/,$(COVERAGE_SUITES))
	$(Q)find $(BUILD) -name '*.gcda' -delete
coverage/parsers:
	$(Q)$(PYTHON) tests/coverage/report.py $(BUILD) parsers
coverage/report:
	$(Q)$(PYTHON) tests/coverage/report.py $(BUILD)

# Left out, because they compute for minutes under valgrind what the sanitizers and the references look at:
# networks that are trained, and numeric kernels.
VALGRIND_SUITES = unit/base unit/storage unit/api unit/server unit/model contract torture
VALGRIND_LEAVES = $(addprefix $(BUILD)/tests/unit/model/test_,synthetic group_training train gate streams recompute blas \
    snapshot seasonal_drift smoothing kernels blend yardstick forecast) \
    $(addprefix $(BUILD)/tests/unit/server/test_,scheduler scheduler_clock first_training newer_models training_manners \
    stuck_training command daemon) \
    $(addprefix $(BUILD)/tests/unit/api/test_,live_model no_memory)
MEMCHECK = valgrind -q --error-exitcode=9 --leak-check=full --suppressions=tests/valgrind.supp
.PHONY: check/valgrind check/memcheck
check/valgrind: ## unit, contract and torture programs under valgrind's memcheck
	$(Q)sh deploy/install-deps.sh build test valgrind
	$(Q)$(MAKE) --no-print-directory -j$(CORES) VALGRIND=1 $(addprefix build/,$(VALGRIND_SUITES))
	$(Q)$(MAKE) --no-print-directory VALGRIND=1 check/memcheck
check/memcheck:
	$(Q)TEST_JOBS=$(CORES) TEST_TIMEOUT=1800 TEST_UNDER='$(MEMCHECK)' \
	    sh tests/run.sh $(filter-out $(VALGRIND_LEAVES),$(foreach suite,$(VALGRIND_SUITES),$(PROGRAMS_$(suite))))

.PHONY: golden
golden: build/golden ## run the golden vectors of a folder: make golden GOLDEN=DIR
	$(Q)GOLDEN="$(if $(GOLDEN),$(abspath $(GOLDEN)))" $(BUILD)/tests/golden/test_golden

.PHONY: bench
bench: ## every figure, as ratios within one run where it has a partner; DATA=DIR for full accuracy (90 minutes)
	$(Q)$(MAKE) --no-print-directory -j$(CORES) all build/bench
	$(Q)sh tests/bench/run.sh $(BUILD)

.PHONY: bench-peers
bench-peers: ## forecastd against InfluxDB, VictoriaMetrics and Prometheus in turns: a table, and a line a goal
	$(Q)sh deploy/install-deps.sh build test peers
	$(Q)$(MAKE) --no-print-directory -j$(CORES) all $(BUILD)/tests/bench/bench_peers
	$(Q)$(PYTHON) tests/bench/peers.py $(BUILD) $(PARTS)

# The papers' claims: cost always, accuracy where DATA=DIR is given (3 seeds, 3 sets, ACCURACY_SECONDS each:
# an hour and a half on two cores). Writes docs/backbones.csv and the tables of docs/backbones.md.
ACCURACY_SECONDS ?= 60
.PHONY: bench-backbones
bench-backbones: ## cost and accuracy of every backbone: docs/backbones.md and its CSV; DATA=DIR for accuracy
	$(Q)$(MAKE) --no-print-directory -j$(CORES) all build/bench
	$(Q)$(PYTHON) tests/bench/backbones.py cost $(BUILD) docs/backbones.csv
	$(Q)$(if $(DATA),$(PYTHON) tests/bench/backbones.py accuracy $(BUILD)/forecastd $(DATA) docs/backbones.csv \
	    --seconds $(ACCURACY_SECONDS))
	$(Q)$(PYTHON) tests/bench/backbones.py page docs/backbones.csv docs/backbones.md

# Each harness under ASan and UBSan for FUZZ_SECONDS; corpora are kept, findings fail. FUZZ_RUNS=N: from one
# seed, the same inputs each time, and at most N of them.
FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
.PHONY: fuzz
fuzz: ## fuzz every parser, FUZZ_SECONDS each
	$(Q)sh deploy/install-deps.sh build test fuzz
	$(Q)$(MAKE) --no-print-directory -j$(CORES) CC=clang-14 \
	    SAN=fuzzer-no-link,address,undefined build/fuzz/all
	$(Q)sh tests/fuzz/run.sh $(BUILD)/fuzzer-no-link-address-undefined $(FUZZ_SECONDS) $(FUZZERS)

.PHONY: build/fuzz/all
build/fuzz/all: $(addprefix $(BUILD)/tests/fuzz/,$(FUZZERS))
$(addprefix $(BUILD)/tests/fuzz/,$(FUZZERS)): $(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/repeat.o \
    $(foreach l,$(below_server),$(call lib,$(l)))
	$(if $(Q),@echo "  link    $@")
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# The kept corpora and findings, without a fuzzer: each harness with a main of ours.
CORPORA = $(FUZZERS:fuzz_%=$(BUILD)/tests/fuzz/replay_%)
$(CORPORA): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/tests/fuzz/repeat.o \
    $(foreach l,$(below_server),$(call lib,$(l)))
	$(if $(Q),@echo "  link    $@")
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
.PHONY: build/corpora check/corpora
build/corpora: $(CORPORA)
check/corpora: build/corpora ## the parsers over the fuzzer's kept corpora
	$(Q)sh tests/run.sh $(CORPORA)

FORMATTED = $(wildcard base/*.[ch] storage/*.[ch] model/*.[ch] model/*/*.[ch] \
    model/ops/kernels/*.[ch] api/*.[ch] server/*.[ch] tests/*/*.[ch] tests/unit/*/*.[ch])
.PHONY: format
format: ## lay out all C sources (clang-format 14)
	clang-format-14 -i $(FORMATTED)

.PHONY: tidy
tidy: ## static analysis of all C sources (clang-tidy 14)
	clang-tidy-14 --quiet $(filter %.c,$(filter-out tests/%,$(FORMATTED))) -- $(CPPFLAGS) -std=gnu17

# ---------------------------------------------------------------- packaging

# DESTDIR stages; PREFIX and SYSCONFDIR are where things will be. A configuration that is there is kept.
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
BINDIR     = $(PREFIX)/bin
MANDIR     = $(PREFIX)/share/man/man1
DOCDIR     = $(PREFIX)/share/doc/forecastd
UNITDIR    = $(PREFIX)/lib/systemd/system
CONFIGDIR  = $(SYSCONFDIR)/forecastd

.PHONY: install
install: all ## daemon, man page, unit, configuration, licences: PREFIX, SYSCONFDIR, DESTDIR
	install -D -m 755 $(BUILD)/forecastd $(DESTDIR)$(BINDIR)/forecastd
	install -D -m 644 deploy/forecastd.1 $(DESTDIR)$(MANDIR)/forecastd.1
	install -D -m 644 LICENSE $(DESTDIR)$(DOCDIR)/LICENSE
	install -D -m 644 api/ui/vendor/uPlot.LICENSE $(DESTDIR)$(DOCDIR)/uPlot.LICENSE
	install -D -m 644 deploy/forecastd.yaml $(DESTDIR)$(DOCDIR)/forecastd.yaml
	install -D -m 644 deploy/alerts.yml $(DESTDIR)$(DOCDIR)/alerts.yml
	test -e $(DESTDIR)$(CONFIGDIR)/forecastd.yaml || \
	    install -D -m 644 deploy/forecastd.yaml $(DESTDIR)$(CONFIGDIR)/forecastd.yaml
	install -d $(DESTDIR)$(UNITDIR)
	sed 's|/usr/local/bin/forecastd|$(BINDIR)/forecastd|; s|/etc/forecastd|$(CONFIGDIR)|' \
	    deploy/forecastd.service >$(DESTDIR)$(UNITDIR)/forecastd.service
	chmod 644 $(DESTDIR)$(UNITDIR)/forecastd.service

.PHONY: uninstall
uninstall: ## remove what install put there; configuration and data stay
	rm -f $(DESTDIR)$(BINDIR)/forecastd $(DESTDIR)$(MANDIR)/forecastd.1 $(DESTDIR)$(UNITDIR)/forecastd.service
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/,LICENSE uPlot.LICENSE forecastd.yaml alerts.yml)
	rmdir $(DESTDIR)$(DOCDIR) 2>/dev/null || :

.PHONY: example
example: all ## write deploy/forecastd.yaml anew after options changed
	$(BUILD)/forecastd config --example >deploy/forecastd.yaml

.PHONY: check/packaging
check/packaging: $(BUILD)/forecastd ## unit, man page, install, and the files of deploy/
	$(Q)sh deploy/install-deps.sh packaging
	$(Q)FORECASTD=$(BUILD)/forecastd $(PYTHON) tests/packaging/run.py

# With a Docker engine: docker build -t forecastd .
# APT_SOURCES in the environment: lines of a sources.list to take packages from.
IMAGE ?= forecastd
.PHONY: image
image: ## build the container image with podman, as IMAGE, on BASE where that is given, and its bill of materials
	$(Q)sh deploy/install-deps.sh image
	$(Q)BILL=$(BUILD)/image.cdx.json sh tests/image/build.sh $(IMAGE) $(BASE)

# Where containers cannot be started (exit status 77) it says so and fails nobody.
.PHONY: test-image
test-image: ## build and run it: health, clean stop, kill with data intact, no capability
	$(Q)sh deploy/install-deps.sh image
	$(Q)export BILL=$(BUILD)/image.cdx.json; \
	    sh tests/image/build.sh $(IMAGE) $(BASE); code=$$?; \
	    if [ $$code -eq 77 ]; then echo '0 passed, 0 failed, 1 skipped'; \
	    elif [ $$code -ne 0 ]; then exit $$code; \
	    else sh tests/image/run.sh $(IMAGE); fi

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BUILD)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z/-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | sort | expand -t 20

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
