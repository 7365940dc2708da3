# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:

scripts := $(filter-out %.py,$(wildcard .ci/*)) $(filter-out %.conf,$(wildcard tests/podman/*))

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: venv ## Take a hook from an executable to an audited run, touching only a temporary directory
	@. .ci/env; ANSIBLE_CALLBACK_RESULT_FORMAT=yaml ansible-playbook p2fleet.hooks.demo

.PHONY: test
test: ## Set everything up, Debian packages too when root, and run every check
	@.ci/test

.PHONY: venv
venv: ## Install the Python tools into .cache/
	@.ci/setup venv

.PHONY: setup
setup: ## Install whatever the checks need: Debian packages when root, an image, the rest into .cache/
	@.ci/setup all

.PHONY: lint
lint: setup ## Check licences, style, types, documentation and the changelog without running anything
	. .ci/env; reuse lint --quiet || reuse lint
	. .ci/env; ruff check .
	. .ci/env; ruff format --check .
	. .ci/env; mypy
	. .ci/env; for part in bin/p2-hook tests/unit tests/integration/engine tests/faults tests/report tests/guide; do MYPYPATH=plugins/module_utils:plugins/plugin_utils mypy $$part; done
	shellcheck -x $(scripts)
	. .ci/env; antsibull-changelog lint
	. .ci/env; antsibull-docs lint-collection-docs --plugin-docs .
	. .ci/env; ansible-lint

.PHONY: sanity
sanity: setup ## Run ansible-test's sanity tests
	.ci/sanity

.PHONY: unit
unit: venv ## Run the unit tests on every Python that is there
	.ci/unit

.PHONY: integration
integration: setup ## Run the modules and the engine against a real Consul
	.ci/integration

.PHONY: report
report: setup ## Look at pages of the report in a browser
	. .ci/env; python -m pytest tests/report

.PHONY: faults
faults: venv ## Disturb installations at every change to the disk, and run hooks that misbehave
	. .ci/env; python -m pytest tests/faults

.PHONY: molecule
molecule: export P2_DEBIAN = $(DEBIAN)
molecule: setup ## Run the roles and modules on containers with systemd; with DEBIAN=bullseye, on that release
	. .ci/env; molecule test $(or $(SCENARIOS),--all)

.PHONY: bench
bench: ## Measure how long running, scheduling and installing hooks take
	.ci/setup bench
	. .ci/env; python tests/benchmark

.PHONY: docs
docs: venv ## Build the reference of the modules into docs/build/
	rm -rf docs/build; mkdir -p docs/build
	. .ci/env; antsibull-docs collection --use-current --fail-on-error --squash-hierarchy --dest-dir docs/build p2fleet.hooks

.PHONY: build
build: venv ## Build the tarball in dist/, and prove that it works on its own
	.ci/build

.PHONY: clean
clean: ## Remove everything that the other targets made, but Debian packages and the image
	rm -rf .cache .ansible dist docs/build tests/output
