# Every target sets up what it needs: `make sweep` and `make test` each work first on a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help setup sweep smoke test test-fast campaign coverage test-versions lint notebooks docs lock clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := $(VENV)/.ready
RESOLUTION ?= lowest-direct
SMOKE := data.subjects=2 data.clips_per_class=1

# Not in the lock: opencv-python, and what torch's CUDA build brings by itself.
NOT_LOCKED := opencv-python triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cccl \
  nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile \
  nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
  nvidia-nvshmem-cu13 nvidia-nvtx

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## virtual environment with the locked packages, in .venv

# torch goes first and with what it needs, so that it brings the CUDA packages of its build where it has them;
# the rest without dependencies, since face-alignment would bring opencv-python, which overwrites opencv-contrib.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("mefusion needs Python 3.11 to 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

sweep: setup ## the default sweep on synthetic data, with its report; a network of all subjects, and a recording to try it on
	$(BIN)/mefusion-prepare
	$(BIN)/mefusion-train -m model=linear_flow,hoof_svm,flow_cnn,mol_tiny,fdp_tiny output_dir=outputs/sweep
	$(BIN)/mefusion-report outputs/sweep
	$(BIN)/mefusion-train model=flow_cnn protocol=all output_dir=outputs/all
	$(BIN)/python -m mefusion.synthetic.recordings outputs/talk.mp4

smoke: setup ## two folds, one epoch, seconds
	$(BIN)/mefusion-prepare $(SMOKE)
	$(BIN)/mefusion-train -m model=mol_tiny,fdp_tiny $(SMOKE) trainer=smoke output_dir=outputs/smoke
	$(BIN)/mefusion-report outputs/smoke

test: setup ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-fast: setup ## run the tests that take less than ten seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow"

campaign: setup ## more than a thousand bad inputs and a hundred interruptions of the real commands (slow; Linux)
	$(BIN)/python -m tests.campaign --kills 100 --inputs all

coverage: setup ## run the tests and tell which lines of the package they run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --cov=src --cov-report=term:skip-covered

test-versions: ## run the tests with the lowest allowed versions of all packages, or RESOLUTION=highest (needs uv)
	uv pip compile --quiet --python-version 3.11 --all-extras --resolution $(RESOLUTION) $(addprefix --no-emit-package ,opencv-python) \
	  pyproject.toml -o $(VENV)-$(RESOLUTION).txt
	$(PYTHON) -m venv $(VENV)-$(RESOLUTION)
	uv pip install --quiet --python $(VENV)-$(RESOLUTION) --no-deps -r $(VENV)-$(RESOLUTION).txt -e .
	OMP_NUM_THREADS=1 $(VENV)-$(RESOLUTION)/bin/python -m pytest -n auto

lint: setup ## style, types and import layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: smoke ## run the notebooks on the smoke run's results
	$(BIN)/python -m pytest --nbmake notebooks

docs: setup ## build the documentation site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: ## write requirements.lock anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header pyproject.toml -o requirements.lock \
	  $(addprefix --no-emit-package ,$(NOT_LOCKED))

clean: ## remove what tools left; environment, data, cache and outputs stay
	rm -rf dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -exec rm -rf {} +
