# What a newcomer types: run, test, and the longer suites. Included by the Makefile.
# SPDX-License-Identifier: Apache-2.0

PYTHON ?= python3
CORES  := $(shell nproc 2>/dev/null || echo 2)

# The page is compiled in.
$(BUILD)/api/ui_assets.o: $(wildcard api/ui/*.* api/ui/vendor/*.*)

# The checks without a compiled program of their own (python3, standard library only).
.PHONY: lint
lint: ## include directions, banned functions, sizes, style
	$(Q)$(PYTHON) tests/lint/lint.py

.PHONY: check/http
check/http: $(BUILD)/forecastd ## black-box suite against the running daemon
	$(Q)FORECASTD=$(BUILD)/forecastd $(PYTHON) tests/http/run.py

# CRASH_KILLS: how often the daemon is killed.
CRASH_KILLS ?= 20
.PHONY: check/crash
check/crash: $(BUILD)/forecastd ## kill -9 of the daemon during ingest and training, a short round
	$(Q)FORECASTD=$(BUILD)/forecastd CRASH_KILLS=$(CRASH_KILLS) $(PYTHON) tests/crash/kill_daemon.py

.PHONY: crash
crash: ## the same with 200 kills
	$(Q)$(MAKE) --no-print-directory check/crash CRASH_KILLS=200

.PHONY: check/browser
check/browser: $(BUILD)/forecastd ## the page in headless Chromium; writes docs/page.png
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
	$(Q)sh deploy/install-deps.sh build demo test
	$(Q)$(MAKE) --no-print-directory -j$(CORES) DEVELOPER=1 all $(addprefix build/,$(CORE_SUITES))
	$(Q)DEVELOPER=1 sh deploy/test.sh lint $(addprefix check/,$(CORE_SUITES)) \
	    check/gradient,DOUBLE=1 check/http check/crash

# Address and undefined behaviour over everything that parses or stores; threads over what shares.
ASAN_SUITES = $(filter unit/%,$(SUITES)) contract reference backbone golden
TSAN_SUITES = $(filter unit/storage unit/server unit/api contract,$(SUITES))
.PHONY: test-sanitized
test-sanitized: ## the suites again under ASan and UBSan, then under TSan
	$(Q)sh deploy/install-deps.sh build demo test
	$(Q)$(MAKE) --no-print-directory -j$(CORES) SAN=address,undefined all \
	    $(addprefix build/,$(ASAN_SUITES))
	$(Q)$(MAKE) --no-print-directory -j$(CORES) SAN=thread all $(addprefix build/,$(TSAN_SUITES))
	$(Q)ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
	    HTTP_SHORT=1 sh deploy/test.sh \
	    $(patsubst %,check/%$(comma)SAN=address+undefined,$(ASAN_SUITES) http) \
	    $(patsubst %,check/%$(comma)SAN=thread,$(TSAN_SUITES) http)

.PHONY: golden
golden: build/golden ## run the golden vectors of a folder: make golden GOLDEN=DIR
	$(Q)GOLDEN="$(if $(GOLDEN),$(abspath $(GOLDEN)))" $(BUILD)/tests/golden/test_golden

.PHONY: bench
bench: ## every figure, as ratios within one run where it has a partner; DATA=DIR for full accuracy
	$(Q)$(MAKE) --no-print-directory -j$(CORES) all build/bench
	$(Q)sh tests/bench/run.sh $(BUILD)

# Each harness under ASan and UBSan for FUZZ_SECONDS; corpora are kept, findings fail.
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
$(addprefix $(BUILD)/tests/fuzz/,$(FUZZERS)): $(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o \
    $(foreach l,$(below_api),$(call lib,$(l)))
	$(if $(Q),@echo "  link    $@")
	$(Q)$(CC) $(ALLFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

FORMATTED = $(wildcard base/*.[ch] storage/*.[ch] model/*.[ch] model/*/*.[ch] \
    model/ops/kernels/*.[ch] api/*.[ch] server/*.[ch] tests/*/*.[ch] tests/unit/*/*.[ch])
.PHONY: format
format: ## lay out all C sources (clang-format 14)
	clang-format-14 -i $(FORMATTED)

.PHONY: tidy
tidy: ## static analysis of all C sources (clang-tidy 14)
	clang-tidy-14 --quiet $(filter %.c,$(filter-out tests/%,$(FORMATTED))) -- $(CPPFLAGS) -std=gnu17

PREFIX ?= /usr/local
.PHONY: install
install: all ## copy the daemon to PREFIX/bin
	install -D -m 755 $(BUILD)/forecastd $(DESTDIR)$(PREFIX)/bin/forecastd
