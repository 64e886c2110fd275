PYTHON ?= python3
PYTEST_ARGS ?= -n auto
MUTANTS_ARGS ?= -n 350

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help bench reference test kernels mutants lint format clean

help:  ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)$$/  make \1\t\2/p' Makefile | expand -t 18

# The stamp is written last, so an interrupted installation is repeated by the next make.
# An environment that is missing, broken, or older than Python 3.11 is made anew.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@$(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| $(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

bench: $(STAMP)  ## run the quick benchmark; its report goes to results/quick/report.html
	$(PY) -m train bench --quick --out results/quick

reference: $(STAMP)  ## run the whole benchmark and the studies, a few hours; continues what was stopped
	for name in entropy learning-rate robustness convergence; do \
		$(PY) -m train study $$name --out results/reference/studies || exit 1; \
	done
	$(PY) -m train bench --suite reference --out results/reference

test: $(STAMP)  ## run the tests (PYTEST_ARGS='-n 4 -k pricing' to choose)
	OMP_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS)

kernels: $(STAMP)  ## run the numerical tests as other processors compute, see .ci/kernels.py
	OMP_NUM_THREADS=1 $(PY) .ci/kernels.py $(PYTEST_ARGS)

mutants: $(STAMP)  ## change single lines and see whether the tests notice (MUTANTS_ARGS='--package pepg -n 40' to choose)
	$(PY) benchmarks/mutants.py $(MUTANTS_ARGS)

lint: $(STAMP)  ## check style, formatting and types; changes nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(STAMP)  ## apply the automatic fixes and the formatter
	$(PY) -m ruff check --fix --exit-zero .
	$(PY) -m ruff format .

clean:  ## remove build output and caches; keeps .venv and results
	rm -rf build dist *.egg-info .mutants_cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
