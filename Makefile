# make demo    a residual network grows on real images, next to its baselines: a minute or two, plus the installation
# make test    the whole test suite
# make check   what CI runs: ruff, mypy, the test suite
# make test-postgres   the test suite with PostgreSQL in the place of the SQLite file, wherever a test names no database
# make slow    the tests that make test leaves out: full-size networks, a cluster of three nodes, more of what it samples
# make chaos   ten minutes of killed processes, lost nodes and a database that goes and comes, and what is left of it
# make bench   the benchmarks: a table, and bench.json
# Each makes .venv and installs growres into it first, where that has not been done.

# The tests run in as many processes as there are cores, four at most; make test TEST_PROCESSES=0 runs them in one.

PYTHON ?= python3
TEST_PROCESSES ?= auto
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
IN_PARALLEL = -n $(TEST_PROCESSES) --maxprocesses 4 --dist loadgroup

# Debian and Ubuntu ship Python without the part that makes virtual environments.
INSTALL_VENV = { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	apt-get update -qq && apt-get install -y -qq python3-venv; }

.PHONY: demo test test-postgres check lint slow chaos bench clean

demo: $(INSTALLED)
	@GROWRES_HOME=.demo $(BIN)/growres submit jobs/presets/digits.yaml

test: $(INSTALLED)
	$(BIN)/python -m pytest -q $(IN_PARALLEL)

test-postgres: $(INSTALLED)
	$(BIN)/python -m pytest -q $(IN_PARALLEL) --store postgresql

check: lint test

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(INSTALLED)
	$(BIN)/python -m pytest -q $(IN_PARALLEL) -m slow

chaos: $(INSTALLED)
	$(BIN)/python -m tests.chaos --minutes 10

bench: $(INSTALLED)
	$(BIN)/python -m tests.bench --output bench.json

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "growres needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(INSTALL_VENV) || \
		{ echo "Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache build dist bench.json
