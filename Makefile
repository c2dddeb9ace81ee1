# The words of this project. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RIVALS := .venv-rivals

.DEFAULT_GOAL := help
.PHONY: help install demo test bench check format lock clean

help: ## list the words
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## make .venv with the pinned versions of requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: install a newer Python, or name one: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY) ## phantom radiographs through the whole pipeline, a few minutes
	$(BIN)/medimg demo

test: $(READY) ## the whole test suite, with the coverage of src
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile \
	  --cov --cov-report=term:skip-covered --cov-fail-under=90

$(RIVALS)/.ready: benchmarks/rivals.txt $(READY)
	$(BIN)/python -m venv $(RIVALS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > $$(echo $(RIVALS)/lib/python3*/site-packages)/shared.pth
	$(RIVALS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/rivals.txt
	@touch $@

bench: $(RIVALS)/.ready ## speed against other tools, into docs/benchmarks/; FILMS=DIR takes real films
	$(BIN)/python benchmarks/run_all.py $(if $(FILMS),--data $(FILMS)) $(if $(ORIGINALS),--originals $(ORIGINALS))

check: $(READY) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(READY) ## put the code into the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## pin again what pyproject.toml asks for (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-strip-extras --no-emit-index-url --no-header -q -o requirements.lock

clean: ## remove the environment and caches, never outputs/
	rm -rf $(VENV) $(RIVALS) .pytest_cache .ruff_cache
