# Everything a developer or a build machine runs. On a fresh Debian 12 with git, make and python3: `make demo`, `make test`.
#
# The virtual environment is made once and again only when pyproject.toml changes. Packages come from wherever this machine's
# pip is configured to look; nothing here names a registry.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-from-pyproject
# What builds a release is a virtual environment of its own, in which nothing is that the lock does not name.
RELEASE := .venv-release
RELEASE_STAMP := $(RELEASE)/.installed-from-lock
LOCK := CUSTOM_COMPILE_COMMAND="make lock" $(RELEASE)/bin/pip-compile --quiet --upgrade --allow-unsafe --generate-hashes --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
TESTS ?= tests
PYTEST_FLAGS ?= -q
# What `make vm` makes: an office, a device that trusts it, and the stick with its next release. VM_DIR is another folder, with
# its slash.
VM_DIR ?=
VM_OFFICE := $(VM_DIR)vm-office
VM_DEVICE := $(VM_DIR)vm-device
VM_STICK := $(VM_DIR)vm-stick.img
VM_RELEASE := $(VM_DIR)vm-release.img
VM_FOLDER := $(VM_DIR)vm-stick
VM_JOBS ?= 1
TIME ?= 60
VM_FLAGS = -v --durations=0 --durations-min=1 $(if $(filter-out 1,$(VM_JOBS)),-n $(VM_JOBS))

# mke2fs lives in /usr/sbin, which is not on a user's PATH everywhere.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: lock audit release help install demo test check format lint types unit property attack power e2e long fuzz coverage mutants bench fix docs-check clean \
	vm vm-install vm-test vm-smoke

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make the virtual environment, if it is not there yet

$(STAMP): pyproject.toml .ci/prepare
	@PYTHON="$(PYTHON)" .ci/prepare
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing usbupdate and its tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(STAMP)

demo: $(STAMP) ## the whole job on simulated devices, every claim checked
	@$(BIN)/usbupdate demo $(ARGS)

test: check docs-check ## everything that must pass

check: format lint types ## format, lint, types, tests
	@.ci/without-network $(BIN)/python -m pytest $(PYTEST_FLAGS) $(TESTS)

format: $(STAMP)
	@$(BIN)/ruff format --check .

lint: $(STAMP)
	@$(BIN)/ruff check .

types: $(STAMP)
	@$(BIN)/mypy

unit property attack power e2e: $(STAMP)
	@.ci/without-network $(BIN)/python -m pytest $(PYTEST_FLAGS) tests/$@

long: $(STAMP) ## the property tests with many more examples
	@.ci/without-network $(BIN)/python -m pytest $(PYTEST_FLAGS) --hypothesis-profile=long tests/property

fuzz: $(STAMP) ## every decoder, and a whole stick, by coverage-guided fuzzing; TIME=seconds for each
	@TIME=$(TIME) .ci/fuzz

coverage: $(STAMP) ## which branches of the core and of what verifies the tests take; under 95 % fails
	@PYTEST_FLAGS="$(PYTEST_FLAGS)" .ci/coverage

mutants: $(STAMP) ## change the code that decides, and require a test that sees it; MODULES="core/policy.py …"
	@$(BIN)/python -c 'import mutmut' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'mutmut>=3.8,<4'
	@$(BIN)/python -m tests.mutation $(MODULES)

vm: $(STAMP) $(VM_DEVICE)/disk.raw $(VM_STICK) ## the reference device on this terminal, and a stick with its next release
	@images/usbupdate-vm start --example $(VM_STICK) $(VM_DEVICE)

# What these print is for somebody who calls them one by one.
$(VM_OFFICE)/metadata/1.root.json: | $(STAMP)
	@echo "Making an office with its keys: $(VM_OFFICE)"
	@$(BIN)/usbupdate repo init $(VM_OFFICE) >/dev/null

$(VM_DEVICE)/disk.raw: | $(VM_OFFICE)/metadata/1.root.json
	@echo "Making a device that trusts this office: $(VM_DEVICE)"
	@images/usbupdate-vm build --root $(VM_OFFICE)/metadata/1.root.json $(VM_DEVICE) >/dev/null

$(VM_OFFICE)/released-2: | $(VM_OFFICE)/metadata/1.root.json
	@echo "Making release 2.0 and signing it"
	@images/usbupdate-vm release --root $(VM_OFFICE)/metadata/1.root.json --version 2.0 --sequence 2 $(VM_RELEASE) >/dev/null
	@$(BIN)/usbupdate bundle create $(VM_RELEASE) --repo $(VM_OFFICE) --name reference --version 2.0 --sequence 2 \
		--compatible usbupdate,reference >/dev/null
	@touch $@ && rm -f $(VM_RELEASE)

$(VM_STICK): | $(VM_OFFICE)/released-2
	@echo "Writing it onto a stick: $@"
	@mkdir -p $(VM_FOLDER) && $(BIN)/usbupdate stick write $(VM_OFFICE) $(VM_FOLDER) >/dev/null
	@images/usbupdate-vm stick $(VM_FOLDER) $@ >/dev/null
	@rm -rf $(VM_FOLDER)

$(RELEASE_STAMP): requirements/build.txt .ci/prepare
	@PYTHON="$(PYTHON)" .ci/prepare
	@test -x $(RELEASE)/bin/python || "$(PYTHON)" -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@touch $@

lock: $(RELEASE_STAMP) ## renew requirements/*.txt: what a release is made from, each version with its hashes
	@$(LOCK) --output-file requirements/release.txt pyproject.toml
	@$(LOCK) --extra release --output-file requirements/build.txt pyproject.toml

audit: $(RELEASE_STAMP) ## ask PyPI for known vulnerabilities of what is locked; needs a network, and says so without one
	@$(RELEASE)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/release.txt -r requirements/build.txt

release: $(RELEASE_STAMP) ## the wheel and its bill of materials, the same bytes at each build of a commit, into dist
	@.ci/release $(RELEASE)/bin

vm-install: ## what the reference device is built and run with
	@PYTHON="$(PYTHON)" .ci/prepare vm

vm-test: vm-install $(STAMP) ## every scenario on the reference device in QEMU; VM_JOBS=2 runs two at a time
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) -m vm $(VM_FLAGS) tests/vm

vm-smoke: vm-install $(STAMP) ## the scenarios that every change is tried with
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "vm and smoke" $(VM_FLAGS) tests/vm

bench: $(STAMP) ## the measurements that the documents quote
	@for script in benchmarks/*.py; do [ -e "$$script" ] || continue; echo "$$script"; $(BIN)/python "$$script"; done

fix: $(STAMP) ## mend format, lint and generated documents where a tool can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix . || true
	@$(BIN)/python docs/make_exit_codes.py
	@$(BIN)/python docs/make_threat_matrix.py
	@$(BIN)/python docs/make_tamper_matrix.py

docs-check: $(STAMP) ## generated documents are current, links lead somewhere
	@$(BIN)/python docs/make_exit_codes.py --check
	@$(BIN)/python docs/make_threat_matrix.py --check
	@$(BIN)/python docs/make_tamper_matrix.py --check
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) tests/unit/test_docs.py

clean: ## remove everything that is made here
	@rm -rf $(VM_OFFICE) $(VM_DEVICE) $(VM_STICK) $(VM_FOLDER) $(VM_RELEASE) $(VM_DIR)vm-returned fuzz-found
	@rm -rf $(VENV) $(RELEASE) build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
