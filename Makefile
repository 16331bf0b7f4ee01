# Needs only python3 >= 3.11 and make: every target sets up .venv first if it has to.

PYTHON3 ?= python3
PYTHON  := .venv/bin/python
READY   := .venv/.ready
# the site needs neither PyTorch nor anything else of .venv
DOCS    := .venv-docs/bin/python
DOCS_READY := .venv-docs/.ready
ARGS    ?=
# one worker more than cores: some tests wait for other processes and for a browser
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# one thread each: torch's own threads would wait for each other
PYTEST  := OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n $(WORKERS) --maxprocesses 9 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help train animate studio weights test test-all test-gpu lint bench bench-gpu docs docs-pictures lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: $(READY)  ## train CMP on the built-in toy world; other runs: make train ARGS="experiment=cmp data=videos data.root=..."
	@$(PYTHON) -m selfsup_motion.train $(or $(ARGS),experiment=cmp)

animate: $(READY)  ## move a photo; your own: make animate ARGS="image=photo.jpg arrows=[[120,80,30,-10]]"
	@$(PYTHON) -m selfsup_motion.animate $(ARGS)

studio: $(READY)  ## the models in a browser, at http://127.0.0.1:7860
	@$(PYTHON) -m selfsup_motion.studio $(ARGS)

weights: $(READY)  ## train the models that come with the package again, hours; needs CLIPS=/folder PHOTOS=/folder
	@PYTHON=$(PYTHON) scripts/make_weights.sh

test: $(READY)  ## the tests, a few minutes; ARGS="tests/ops -k flow" narrows them
	@$(PYTEST) $(ARGS)

test-all: $(READY)  ## also the slow tests
	@$(PYTEST) -m "not gpu" $(ARGS)

test-gpu: $(READY)  ## the tests that need a CUDA device
	@$(PYTHON) -m pytest -q -m gpu $(ARGS)

lint: $(READY)  ## ruff and mypy
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

bench: $(READY)  ## speed and memory on the CPU into docs/benchmarks.md, at most a quarter of an hour; PARTS="attention steps" measures some
	@$(PYTHON) benchmarks/bench.py $(PARTS)

bench-gpu: $(READY)  ## the same on a CUDA device, at most five minutes
	@$(PYTHON) benchmarks/bench.py --device cuda $(PARTS)

docs: $(DOCS_READY)  ## the documentation as a site: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(DOCS) -m mkdocs build --quiet --clean
	@$(DOCS) scripts/docs/check_site.py site

docs-pictures: $(READY)  ## draw the pictures in docs/pictures anew
	@$(PYTHON) scripts/docs/pictures.py docs/pictures

lock: $(READY)  ## resolve requirements.lock and requirements-docs.lock anew from pyproject.toml
	@.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url -q --group dev pyproject.toml -o requirements.lock \
	  --custom-compile-command 'make lock'
	@.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url -q --group docs -o requirements-docs.lock \
	  --custom-compile-command 'make lock'

clean:  ## remove .venv, caches and build products; outputs/ stays
	@rm -rf .venv .venv-docs site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

define check_python
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'python3 >= 3.11 is needed; name another one with: make PYTHON3=/path/to/python3'; exit 1; }
	@$(PYTHON3) -c 'import venv, ensurepip' 2> /dev/null || { \
	  echo 'python3 has no venv module; install it (Debian: apt install python3-venv).'; exit 1; }
endef

$(READY): pyproject.toml requirements.lock scripts/uv.txt
	$(check_python)
	@echo 'Setting up .venv (once, a minute or two) ...'
	@test -x $(PYTHON) || $(PYTHON3) -m venv .venv
	@$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r scripts/uv.txt
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install -q --require-hashes -r requirements.lock
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(DOCS_READY): requirements-docs.lock scripts/uv.txt
	$(check_python)
	@echo 'Setting up .venv-docs (once) ...'
	@test -x $(DOCS) || $(PYTHON3) -m venv .venv-docs
	@$(DOCS) -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r scripts/uv.txt
	@VIRTUAL_ENV=.venv-docs .venv-docs/bin/uv pip install -q --require-hashes -r requirements-docs.lock
	@touch $@
