PYTHON ?= python3
BIN := .venv/bin
DATA := $(wildcard ../shared/data)
SEEDS ?= 50000
KILLS ?= 200
export SLATESTREAM_DATA ?= $(DATA)

.PHONY: run test soak lint bench kafka clean

run: .venv/run ## set up and start the demo
	$(BIN)/slatestream demo $(ARGS)

test: .venv/dev ## set up and run the tests
	$(BIN)/python -m pytest $(ARGS)

soak: .venv/dev ## many more faults: make soak SEEDS=50000 KILLS=200
	SLATESTREAM_SOAK=$(SEEDS) $(BIN)/python -m pytest -n auto tests/simulation $(ARGS)
	SLATESTREAM_KILLS=$(KILLS) $(BIN)/python -m pytest tests/faults $(ARGS)

lint: .venv/dev ## style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench ## speed, beside NumPy and other systems
	$(BIN)/slatestream bench $(ARGS)

kafka: NODES = 1
kafka: PORT = 9092
kafka: ## a real Kafka at PORT, until Ctrl-C; NODES=3 for three nodes
	@$(PYTHON) -m tests.servers.kafka --nodes $(NODES) --port $(PORT)

clean: ## forget the set-up
	rm -rf .venv .cache build dist *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "slatestream needs Python 3.11 or later; give it as PYTHON=..." && exit 1)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip

.venv/run: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch .venv/run $@

.venv/bench: .venv/dev
	$(BIN)/pip install --quiet --editable '.[bench]'
	@touch $@
