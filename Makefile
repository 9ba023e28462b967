# `make demo` and `make test` create the virtual environment and install everything that they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test slow docs lint format picture

demo: $(VENV)/.demo
	$(BIN)/reconpatch-run demo

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadscope --no-loadscope-reorder

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py docs/drawings/*.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

picture: $(VENV)/.dev
	$(BIN)/reconpatch-run demo
	$(BIN)/reconpatch-run report --run demo-run --figures png
	cp demo-run/report/figures/elpv_mono-examples.png docs/demo.png

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/pip pyproject.toml
	$(BIN)/pip install --quiet -e '.[demo]'
	touch $@

$(VENV)/.dev: $(BIN)/pip pyproject.toml
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@
