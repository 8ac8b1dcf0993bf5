# One obvious command for each chore. `make run` and `make test` set everything up on a fresh machine with Python 3.11.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export CER_HOME ?= $(CURDIR)/data
# Sections that take the place of dagster.yaml's, such as deploy/postgres.yaml; unset, SQLite under CER_HOME.
export CER_INSTANCE_FILE ?=
# The sample's calendar is 2017 and a month to drop further days into; set it empty for drops of today.
export CER_LAST_DAY ?= 2018-01-31

.PHONY: run test story endure ui check bench audit lock clean

run: $(READY)  ## sample drops, the whole graph, a summary
	@$(BIN)/python -m cer_assets.defs.run

test: check  ## everything that must hold
	@$(BIN)/python -m pytest -n 2

story: $(READY)  ## three days from an empty home, watched in the browser: over SQLite, and over PostgreSQL and s3://
	@$(BIN)/python -m pytest -n 2 -m endurance cer_assets_tests/e2e/test_live_days.py

endure: $(READY)  ## what takes minutes: days on end, kills, servers, full disks
	@$(BIN)/python -m pytest -n 2 -m endurance

check: $(READY)  ## style, types, layering, dependencies, definitions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports
	@$(BIN)/deptry .
	@$(BIN)/dg check defs

ui: $(READY)  ## the Dagster UI with its daemon
	@DAGSTER_HOME=$(abspath $(CER_HOME))/dagster deploy/entrypoint.sh $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

bench: $(READY)  ## side by side with peers; prints JSON
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file; done

audit: $(READY)  ## known vulnerabilities of what is pinned; asks the advisory service
	@$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip

lock:  ## pin anew what pyproject.toml allows; needs `uv` on the path
	@uv pip compile pyproject.toml --all-extras --no-emit-index-url --python-version 3.11 -o constraints.txt

clean:  ## forget the environment (data stays)
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[sample,dev,bench]'
	@touch $@
