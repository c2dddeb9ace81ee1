# Developer commands. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RIVALS := .venv-rivals

.DEFAULT_GOAL := help
.PHONY: help install demo test docs bench shift check format lock clean

help: ## show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## create .venv with the pinned versions of requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: install a newer Python, or name one: make PYTHON=python3.12 demo"; exit 2; }
	@echo "Creating $(VENV) (step 1 of 3)"
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing $$(grep -c '^[a-z].*==' requirements.lock) pinned packages (step 2 of 3)."
	@echo "This takes 3 to 10 minutes and, on Linux, about 6 GB of disk; pip is quiet while it works."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "Installing medimg_baseline_cls (step 3 of 3)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)
	@echo "Installed. To use it in this shell: source $(BIN)/activate"

demo: $(READY) ## run the whole pipeline on phantom radiographs (about 3 minutes)
	$(BIN)/medimg demo

test: $(READY) ## run all tests and measure coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile \
	  --cov --cov-report=term:skip-covered --cov-fail-under=90

docs: $(READY) ## build the documentation site into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -E -a -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "open docs/_build/html/index.html"

$(RIVALS)/.ready: benchmarks/rivals.txt $(READY)
	$(BIN)/python -m venv $(RIVALS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > $$(echo $(RIVALS)/lib/python3*/site-packages)/shared.pth
	$(RIVALS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/rivals.txt
	@touch $@

bench: $(RIVALS)/.ready ## measure speed against other tools into docs/benchmarks/ (IMAGES=DIR: your own images)
	$(BIN)/python benchmarks/run_all.py $(if $(IMAGES),--data $(IMAGES)) $(if $(ORIGINALS),--originals $(ORIGINALS))

shift: $(READY) ## measure generalization into docs/benchmarks/shift.md (IMAGES=chest_xray/train WEIGHTS=FILE)
	$(BIN)/python benchmarks/shift.py $(IMAGES) $(WEIGHTS) $(if $(RECIPES),--recipes $(RECIPES))

check: $(READY) ## check lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## update requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-strip-extras --no-emit-index-url --no-header -q -o requirements.lock

clean: ## remove the environment, the site and caches; outputs/ stays
	rm -rf $(VENV) $(RIVALS) docs/_build .pytest_cache .ruff_cache
