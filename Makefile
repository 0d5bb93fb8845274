# The front door. `make` tells what there is; every target does its own set-up.
SHELL := /bin/bash
CARGO ?= cargo
# Also where one's own environment or Cargo configuration names another folder.
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
GALA := $(CARGO_TARGET_DIR)/release/gala
LAB := $(CARGO_TARGET_DIR)/release/gala-lab
FAULT ?= cpu
FAULTS := cpu loss disk fsync listen stop hang link quota memory delay kill
SERIES ?= five
# What is set up before anything is built, so that all that is missing is named at once.
NEEDS := build
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help run test test-kernels build demo accuracy bench lint fuzz package ui

help: ## What there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Build and start everything on this host; prints where to look. As root all of it, else what /proc shows
	@[ "$$(id -u)" = 0 ] || echo "as $$(id -un), without kernel hooks; with them: sudo $(GALA) up"
	$(GALA) up

test: ## Set up, lint, build, and run every test this machine can run (10 minutes and more at first)
	@tools/setup.sh test lint
	@tools/test.sh

# What is measured, packed and tried elsewhere is what was built.
bench package test-kernels: export GALA := $(abspath $(GALA))
bench: export GALA_LAB := $(abspath $(LAB))

test-kernels: NEEDS += kernels
test-kernels: build ## The agent on Debian's 5.10, 6.1 and 6.12 kernels, each in a virtual machine
	@tools/kernels.sh

build: ## Release binary with the interface in it: target/release/gala (some 5 minutes at first)
	@tools/setup.sh $(NEEDS)
	@$(MAKE) --no-print-directory ui
	$(CARGO) build --release --locked -p gala -p gala-lab

ui:
	@tools/ui.sh build

# Told before minutes of building.
ifneq ($(filter demo,$(MAKECMDGOALS)),)
ifeq ($(filter $(FAULT),$(FAULTS)),)
$(error there is no fault "$(FAULT)" to make; known are $(FAULTS))
endif
endif
demo: NEEDS += demo root
demo: build ## A real Redis, one real fault, found in the interface (8 minutes; FAULT=cpu|loss|disk|fsync|listen|stop|hang|link|quota|memory|delay|kill)
	@tools/as-root.sh $(LAB) demo --fault $(FAULT) --gala $(GALA)

accuracy: NEEDS += demo root
accuracy: build ## Five faults three times in a row, then half an hour without one (some 80 minutes; SERIES=five|more|all)
	@tools/as-root.sh $(LAB) accuracy --series $(SERIES) --gala $(GALA); found=$$?; \
	  [ $$found = 130 ] || tools/as-root.sh $(LAB) quiet --gala $(GALA) && exit $$found

bench: NEEDS += bench
bench: build ## What it costs: each figure with its floor and aim, beside its peers (10 minutes on a quiet machine)
	@tools/bench.sh

package: build ## A Debian package with the program and its units: target/package/
	@tools/package.sh

lint: ## Formatting, clippy, the interface's linters
	@tools/setup.sh build lint
	@tools/lint.sh

fuzz: ## Property tests of what reads foreign bytes or judges numbers, for long
	@tools/setup.sh build
	PROPTEST_CASES=20000 $(CARGO) test --release --locked -p gala-model -p gala-store -p gala-analysis
	PROPTEST_CASES=20000 $(CARGO) test --release --locked -p gala-agent --lib
