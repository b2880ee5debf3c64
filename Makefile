# forecastd: build, tests and benches. `make help` lists the targets.
# SPDX-License-Identifier: Apache-2.0

CC      ?= gcc
BUILD   ?= build
V       ?= 0

# Packages come from deploy/install-deps.sh; pthread-OpenBLAS by full name, because the serial flavour
# gives wrong results when two threads call it (ARCHITECTURE.md, "OpenBLAS").
PKG      = libmicrohttpd jansson sqlite3 yaml-0.1 zlib
BLAS_DIR := $(firstword $(wildcard /usr/lib/*/openblas-pthread))
CPPFLAGS += -I. -D_GNU_SOURCE -isystem /usr/include/$(notdir $(patsubst %/openblas-pthread,%,$(BLAS_DIR)))/openblas-pthread

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
           -Wold-style-definition -Wvla -Walloca -Wpointer-arith -Wwrite-strings -Wcast-qual \
           -Wformat=2 -Wundef -Wfloat-conversion -Wdouble-promotion -Wswitch-enum -Wimplicit-fallthrough
WARNINGS += $(if $(DEVELOPER),-Werror)
HARDEN   = -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
CFLAGS  ?= -O2 -g
# No fast-math: finite checks must mean something. Contraction and errno-free math change no such thing.
ALLFLAGS = -std=gnu17 $(CFLAGS) $(WARNINGS) $(HARDEN) -pthread -fno-math-errno -fno-trapping-math -fopenmp-simd -MMD -MP
LDFLAGS += -pie -Wl,-z,relro,-z,now -Wl,--as-needed
LDLIBS   = $(BLAS_DIR)/libopenblas.so.0 -lmicrohttpd -ljansson -lsqlite3 -lyaml -lz -lm -pthread

# Flavours, each in its own folder: make SAN=address,undefined ...   make DOUBLE=1 ...   make DEBUG=1 ...
comma := ,
ifdef SAN
override BUILD := $(BUILD)/$(subst $(comma),-,$(SAN))
ALLFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all -U_FORTIFY_SOURCE -DFORECASTD_SANITIZED
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
KERNEL_ALLFLAGS = $(filter-out -fsanitize=thread,$(ALLFLAGS))
SRC_kernels := $(wildcard model/ops/kernels/*.c)
define kernel_rule
$(BUILD)/%.$(1).o: %.c
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  cc $(1)   $$<")
	$$(Q)$$(CC) $$(CPPFLAGS) $$(KERNEL_ALLFLAGS) -O3 $$(KERNEL_FLAGS_$(1)) -DKERNEL_LEVEL=$(1) -c $$< -o $$@
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
layer_of_fuzz = api

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

CORE_SUITES = $(filter unit/%,$(SUITES)) contract reference backbone golden
-include deploy/tests.mk

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BUILD)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z/-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand -t 20

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
