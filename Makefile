# Two commands for a fresh machine with Python >= 3.10: `make demo` and `make test`.

# The first of these that is new enough; another one by `make PYTHON=/path/to/python3 ...`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& echo $$python && exit; done; echo python3)
# Further arguments of pytest, as in `make test ARGS='-k losses'`.
ARGS ?=
# A link that leads nowhere ends it. What makes the site needs Python 3.11.
BUILD_DOCS = .venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 11))' \
	&& echo 'Not built: the tools for it need Python 3.11 or later.' \
	|| NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

.PHONY: help demo docs test test-openmmlab test-zoo environment environment-openmmlab python clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo            train a teacher and three students, compare their COCO AP'
	@echo 'make test            lint, types and tests, all that CI runs'
	@echo "make test-openmmlab  the tests on OpenMMLab's own packages"
	@echo 'make test-zoo        a step of each kind of config of both zoos (hours; by hand)'
	@echo 'make docs            the documentation as a site, in build/site'
	@echo 'make environment     only set up .venv'
	@echo 'make clean           remove environments, caches and builds; results stay'

demo: environment
	@.venv/bin/python tools/demo.py $(ARGS)

docs: environment
	@$(BUILD_DOCS)
	@echo 'Open build/site/index.html'

test: environment
	@echo '== ruff'
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@echo '== mypy'
	@.venv/bin/mypy
	@echo '== docs'
	@$(BUILD_DOCS)
	@echo '== pytest'
	@.venv/bin/python -m pytest $(ARGS)
	@echo 'All checks passed. Next: `make demo`, then the README on your own config.'

test-openmmlab: environment-openmmlab
	@echo "== pytest on OpenMMLab's own packages"
	@.venv-openmmlab/bin/python -m pytest $(ARGS)
	@echo "All tests passed on OpenMMLab's own packages."

test-zoo: environment
	@.venv/bin/python -m experiments.zoo.run $(ARGS)

environment: python
	@$(PYTHON) requirements/install.py .venv requirements.txt constraints.txt

environment-openmmlab: python
	@$(PYTHON) requirements/install.py .venv-openmmlab requirements-openmmlab.txt \
		constraints-openmmlab.txt

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "btkd_det needs Python >= 3.10; $(PYTHON) is $$($(PYTHON) --version 2>&1 \
		|| echo not there). Name another: make PYTHON=/path/to/python3.12 test" >&2; exit 1; }

clean:
	rm -rf .venv .venv-openmmlab build dist btkd_det.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
