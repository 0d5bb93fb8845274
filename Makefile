# The front door. `make` tells what there is; every target does its own set-up.
SHELL := /bin/bash
CARGO ?= cargo
GALA := target/release/gala
LAB := target/release/gala-lab
FAULT ?= cpu
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help run test test-kernels build demo accuracy bench lint fuzz package ui

help: ## What there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Build and start everything on this host; prints where to look
	$(GALA) up

test: ## Set up, lint, build, and run every test this machine can run
	@tools/setup.sh test
	@tools/test.sh

test-kernels: build ## The agent on Debian's 5.10, 6.1 and 6.12 kernels, each in a virtual machine
	@tools/kernels.sh

build: ## Release binary with the interface in it: target/release/gala
	@tools/setup.sh build
	@$(MAKE) --no-print-directory ui
	$(CARGO) build --release --locked -p gala -p gala-lab

ui:
	@tools/ui.sh build

demo: build ## A real Redis, one real fault (FAULT=cpu|loss|disk|fsync|listen), found in the interface
	@tools/setup.sh demo
	$(LAB) demo --fault $(FAULT) --gala $(GALA)

accuracy: build ## All five faults three times in a row, then half an hour without one (some 75 minutes)
	@tools/setup.sh demo
	$(LAB) accuracy --gala $(GALA)
	$(LAB) quiet --gala $(GALA)

bench: build ## What it costs: each figure with its floor and aim
	@tools/setup.sh bench
	@tools/bench.sh

package: build ## A Debian package with the program and its units: target/package/
	@tools/package.sh

lint: ## Formatting, clippy, the interface's linters
	@tools/setup.sh build
	@tools/lint.sh

fuzz: ## Property tests of everything that reads foreign bytes, for long
	@tools/setup.sh build
	PROPTEST_CASES=20000 $(CARGO) test --release --locked -p gala-model -p gala-store
