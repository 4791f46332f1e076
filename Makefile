# make run      reconstruct the example; make run ARGS="--input scan.h5 --slice 0" for your own data
# make test     the tests; make test ARGS="-k halo" for some; JOBS=0 for one process
# make lint     ruff and mypy
# make train    train the denoiser; ARGS="--images FOLDER --validation FOLDER"
# make docs     build the site into site/, warnings being errors
# make wheel    build the wheel into dist/
# make clean    remove what the others built, except outputs/, checkpoints/ and the environment
#
# Each makes the virtual environment it needs, in VENV: run and train without what only development takes.
VENV ?= .venv
ARGS ?=
JOBS ?= auto
PYTHON_OF_VENV = $(VENV)/bin/python

.PHONY: run test lint train docs wheel clean

run: $(VENV)/.installed
	$(VENV)/bin/asyncred reconstruct $(ARGS)

test: $(VENV)/.ready
	$(PYTHON_OF_VENV) -m pytest -n $(JOBS) --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(VENV)/.ready
	$(PYTHON_OF_VENV) -m ruff check
	$(PYTHON_OF_VENV) -m ruff format --check
	scripts/typecheck.sh $(VENV)

train: $(VENV)/.installed
	$(VENV)/bin/asyncred train --output models/weights $(ARGS)

docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

wheel: $(VENV)/.ready
	rm -rf build
	$(PYTHON_OF_VENV) -m build --wheel --outdir dist

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find asyncred_gpu kernels models scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml setup.cfg scripts/make_env.sh
	scripts/make_env.sh $(VENV)

$(VENV)/.ready: pyproject.toml setup.cfg scripts/make_env.sh
	scripts/make_env.sh $(VENV) dev
