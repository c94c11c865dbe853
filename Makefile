# make lab    set everything up and open the tour in JupyterLab
# make test   set everything up and run every check
# make quick  what matters most, in less than a minute: run it while you work
#
# PYTHON=python3.12 chooses the interpreter, and an environment of its own for it; LAB_ARGS=--no-browser is handed to
# JupyterLab, BENCH_ARGS=--quick to the benchmarks: small sizes, one round.

PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# What is imported is compiled then, and kept; compiling all that was installed takes longer than installing it. The pip
# that came with Python may be years old: that of 3.11 takes 56 seconds of CPU for what a new one does in 23.
INSTALL := $(PIP) install --quiet --upgrade pip && $(PIP) install --quiet --no-compile --editable
CHECKS := tests browser notebooks others ruff format types floors
QUICK := core ruff format types floors

# What depends on the interpreter's insides: run on the oldest and the newest of the Pythons that are found here.
INSIDES := $(addprefix tests/test_,slices.py wire.py store.py store_interrupts.py forks.py agent.py arguments.py tools.py \
  interpreter.py)

# Their lines are counted on the newest of them. None forks a process that has a lab: who counts keeps an SQLite store too,
# whose lock a thread of the lab may hold just then.
COVERED := $(addprefix tests/test_,slices.py wire.py store.py agent.py arguments.py tools.py oracle.py child.py events.py \
  lab.py ref.py links.py steering.py bring_back.py)

# The core is tested first while one works: supervision, states, messages, the store, and that nothing is done twice.
CORE := $(addprefix tests/test_,supervision.py oracle.py child.py agent.py arguments.py events.py wire.py lab.py ref.py \
  links.py steering.py administration.py journal.py acts.py skip.py bring_back.py store.py house.py)

# Jupyter refuses to start as root, which is who you are in most containers, unless told that it is meant.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# `make -k` inside runs what is left after a failure, so that one run shows all that is wrong and still fails.
RUN_ALL := $(MAKE) --no-print-directory --keep-going

# Three checks run side by side, the longest begin; each shows what it said when it is through.
SIDE_BY_SIDE := $(RUN_ALL) -j3 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# As many tests at once as tests/conftest.py says. nbval, which only notebooks need, takes seconds to load.
AT_ONCE := -p no:nbval -n auto --dist loadgroup

# Nodes, kernels and scripts are started a thousand times: none of them shall compile the package again.
unexport PYTHONDONTWRITEBYTECODE

# Of these the suite has a sample, or what takes little (DESIGN.md says which).
SAMPLED := $(addprefix tests/test_,crash_everywhere.py drill.py store_life.py soak.py hostile_text.py notebooks_again.py \
  evals_killed.py evals_cluster_deaths.py evals_cluster_runs.py)

long: $(VENV)/.installed-test
	AGENTLAB_LONG=1 $(BIN)/pytest $(AT_ONCE) $(SAMPLED)

.PHONY: help lab test quick long pythons bench docs links clean insides covered uncovered core $(CHECKS)

help:
	@echo "make lab     set everything up and open the tour in JupyterLab"
	@echo "make test    set everything up and run every check: $(CHECKS)"
	@echo "make quick   what matters most, in less than a minute: $(QUICK)"
	@echo "make long    run every death and every minute of which the suite has a sample"
	@echo "make pythons run all tests and notebooks on every other Python that is found here"
	@echo "make bench   measure agentlab beside its peers, an hour and a half, into tests/benchmarks/results.md"
	@echo "make docs    make pages of the notebooks, the how-tos and the docstrings, into build/docs"
	@echo "make links   ask each host that the pages link to whether it has the page; needs a network"
	@echo "make clean   remove the environment and everything that was built"

lab: $(VENV)/.installed
	$(BIN)/jupyter lab $(AS_ROOT) $(LAB_ARGS) notebooks/00-tour.ipynb

test:
	@+$(SIDE_BY_SIDE) $(CHECKS)

quick: $(VENV)/.installed-test
	@+$(SIDE_BY_SIDE) $(QUICK)

ruff: $(VENV)/.installed-test
	$(BIN)/ruff check

format: $(VENV)/.installed-test
	$(BIN)/ruff format --check

types: $(VENV)/.installed-test
	$(BIN)/mypy

floors: $(VENV)/.installed-test
	$(BIN)/lint-imports

# Of a new environment nothing is compiled yet: one process that collects the tests has that done for all that run them.
# Made a target of its own, make would begin with others while it waits for this one.
tests: $(VENV)/.installed-test
	@test -e $(VENV)/.compiled || $(BIN)/pytest -p no:nbval --ignore=tests/browser --collect-only -q >/dev/null; touch $(VENV)/.compiled
	$(BIN)/pytest $(AT_ONCE) --ignore=tests/browser

core: $(VENV)/.installed-test
	$(BIN)/pytest $(AT_ONCE) $(CORE)

notebooks: $(VENV)/.installed-test
	$(BIN)/pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval-sanitize.cfg --nbval-cell-timeout=60 notebooks

browser: $(VENV)/.installed-test
	@AGENTLAB_BROWSER="$$($(BIN)/python tests/browser/install_browser.py)" && export AGENTLAB_BROWSER && set -x && \
	$(BIN)/pytest -p no:nbval tests/browser

insides: $(VENV)/.installed-insides
	$(BIN)/pytest $(AT_ONCE) $(INSIDES)

# What is left of them when the lines of the others are counted: too few to be worth more than one process.
uncovered: $(VENV)/.installed-insides
	$(BIN)/pytest -p no:nbval $(filter-out $(COVERED),$(INSIDES))

# Lines that the core's tests run through, held to the floor in pyproject.toml. Each process that counts takes seconds to
# import what it tests: two take 26 CPU seconds in all, four 37.
covered: $(VENV)/.installed-insides
	rm -rf build/coverage
	$(BIN)/coverage run -m pytest -p no:nbval -n 2 --dist loadgroup $(COVERED)
	@$(BIN)/coverage combine -q 2>/dev/null  # the half-written counts of nodes that were killed are left out
	@$(BIN)/coverage report --format=total --precision=1 2>/dev/null && echo 'percent of the lines of agentlab; for a page of each file: coverage html'

# Checks on each other Python, and those on the newest of them: $(call on_others,checks,checks on the newest,--ends). Each
# has an environment of its own, made while pip is still at work on the first; one that fails does not keep the next from
# running. To count lines slows nodes down before 3.12, so much that they are taken for stalled: 3.11 is never the newest.
on_others = found="$$($(PYTHON) tests/find_pythons.py $(3))" && failed= && newest= && \
  for each in $$found; do case $$each in 3.11=*) ;; *) newest=$$each;; esac; done && \
  for each in $$found; do \
    checks="$(1)" && { test "$$each" != "$$newest" || checks="$(2)"; } && echo "-- Python $${each%%=*}: $$checks" && \
    $(RUN_ALL) PYTHON=$${each\#*=} VENV=.venv-$${each%%=*} $$checks || failed=1; \
  done && test -z "$$failed"

others:
	@+$(call on_others,insides,uncovered covered,--ends) && \
	{ test "$$newest" || echo "No line was counted: that takes another Python here, 3.12 or newer"; }

pythons:
	@+$(call on_others,tests notebooks,tests notebooks,)

bench: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks $(BENCH_ARGS)

# Nothing is run: what a notebook shows is what is stored in it, and `make notebooks` holds it to that.
docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -q -W --keep-going -b html notebooks build/docs
	@echo "build/docs/index.html"

# Asks each host that a page links to, so it needs a network; links inside the pages are checked by `make tests`.
links: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -q -b linkcheck notebooks build/links
	@echo "build/links/output.txt"

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The package is installed editable, so only a change of its requirements calls for pip again.
$(VENV)/.installed: $(BIN)/pip pyproject.toml
	$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(BIN)/pip pyproject.toml
	$(INSTALL) '.[test]'
	$(BIN)/python -m agentlab.models.local get
	$(BIN)/python tests/javascript/get_typescript.py
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-insides: $(BIN)/pip pyproject.toml
	$(INSTALL) '.[insides]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: $(BIN)/pip pyproject.toml
	$(INSTALL) '.[docs]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(BIN)/pip pyproject.toml
	$(INSTALL) '.[bench]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test

# pip is the last thing that venv makes: a half-made environment is finished, a whole one is left alone.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "agentlab needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1). Name a newer one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
