# make serve   set up, build, run the daemon on loopback
# make test    set up, every test, and the builds without the server
# make lint    format and clippy
# make bench   the daemon beside its ceilings, and the benches
#
# Arguments for the daemon: make serve ARGS="--listen 127.0.0.1:5000"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build serve test lint bench

CARGO ?= cargo
ARGS ?=
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# Only where nobody chose a compiler. Asked when a recipe runs, because set-up may just have installed it.
WITH_CCACHE = if command -v ccache >/dev/null && [[ -z "$${CC:-}$${CXX:-}" ]]; then \
	export CC="ccache gcc" CXX="ccache g++"; fi;

# A test may fail by a panic and may print; clippy knows that of test functions, not of their helpers.
IN_TESTS = -A clippy::unwrap_used -A clippy::panic -A clippy::print_stdout -A clippy::print_stderr -A unreachable_pub

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup:
	@.ci/setup

build: setup
	@$(WITH_CCACHE) $(CARGO) build --release

serve: build
	@exec $(TARGET_DIR)/release/askance serve $(ARGS)

test: setup
	@$(WITH_CCACHE) $(CARGO) test --no-fail-fast --features faults
	@$(WITH_CCACHE) $(CARGO) check --lib --no-default-features
	@$(WITH_CCACHE) $(CARGO) check --lib --no-default-features --features client

lint: setup
	@$(WITH_CCACHE) $(CARGO) fmt --check
	@$(WITH_CCACHE) $(CARGO) clippy --lib --bins --features faults -- -D warnings
	@$(WITH_CCACHE) $(CARGO) clippy --tests --benches --features faults -- -D warnings $(IN_TESTS)
	@$(WITH_CCACHE) $(CARGO) clippy --lib --no-default-features --features client -- -D warnings

bench: build
	@$(TARGET_DIR)/release/askance bench
	@$(WITH_CCACHE) $(CARGO) bench
