# Everything here needs only Python >= 3.11, make and git; the first target that runs sets up .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNTIME := $(VENV)/.runtime
SHARED ?= $(or $(FMMTC_SHARED),../shared)
DEMO ?= demo
TRIAL ?= $(SHARED)/data/stages.tar.xz
TRIAL_DIR ?= trial

GOLDEN ?= golden
GOLDEN_DIGESTS ?= tests/golden/digests.json

TORCH := 2.13.0

.PHONY: help install demo trial test slow-test browser-test cluster-test container-test golden \
    golden-record lock lint format bench scaling recovery clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## set up .venv with the locked versions

$(RUNTIME): pyproject.toml requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -e .
	@touch $@

$(STAMP): $(RUNTIME)
	$(BIN)/python -m pip install --quiet -c requirements/constraints.txt -e ".[test,lint]"
	@touch $@

demo: $(RUNTIME)  ## simulate a study of 44 people and predict their response, end to end
	$(BIN)/fmmtc-tools simulate $(DEMO)/bids --people 44 --controls 4 --seed 1 \
	    --strength 2 --outcome-noise 0.9 --atlas demo --parcels 60 --voxel-size-mm 6
	$(BIN)/fmmtc $(DEMO)/bids $(DEMO)/out participant --work-dir $(DEMO)/work \
	    --atlas $(DEMO)/bids/sourcedata/simulation
	$(BIN)/fmmtc $(DEMO)/bids $(DEMO)/out group --work-dir $(DEMO)/work \
	    --label demo --target Response --where type=patient --covariates Age gender \
	    --network fc-logistic fmmtc --encoder random --token-orders 2 --folds 5 --inner-folds 2 \
	    --epochs 4 --learning-rate 2e-3 --permutations 99 --network-permutations 0 \
	    --explain parcels
	@echo "Predictions:        $(DEMO)/out/group/group_desc-demo_predictions.tsv"
	@echo "Participant report: $(DEMO)/out/sub-05.html"
	@echo "Group report:       $(DEMO)/out/group/group_desc-demo_report.html"

trial: $(STAMP)  ## compare all models on a real drug trial, in an hour (TRIAL= names the archive)
	@test -e "$(TRIAL)" || { echo "No archive at $(TRIAL): make trial TRIAL=/path/to/stages.tar.xz"; exit 69; }
	mkdir -p $(TRIAL_DIR)
	tar -xJf $(TRIAL) -C $(TRIAL_DIR)
	$(BIN)/fmmtc $(TRIAL_DIR)/stages $(TRIAL_DIR)/out group --work-dir $(TRIAL_DIR)/work \
	    --derivatives parcels=$(TRIAL_DIR)/stages/derivatives/parcels \
	    --analysis compare --target sofas_improved_6mo --encoder random --precision float32 \
	    --network fmmtc resnet-fc bnt lstm svm ridge knn xgboost \
	    --features ts fc pca-ts pca-fc encoder fused \
	    --folds 3 --inner-folds 2 --epochs 5 --device cpu
	@echo "Report: $(TRIAL_DIR)/out/group/group_desc-comparison_report.html"

test: $(STAMP)  ## the default tests: no network, no GPU, within 8 minutes
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

slow-test: $(STAMP)  ## tests that train, simulate or are killed for minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --timeout 1200

browser-test: $(STAMP)  ## open the reports in headless Chromium, installed where it can be
	@command -v chromium >/dev/null || { apt-get update && \
	    apt-get install --yes --no-install-recommends chromium fonts-dejavu-core; } || \
	    { echo "Chromium is not here and cannot be installed; nothing was tested."; exit 69; }
	$(BIN)/python -m pytest -m browser

cluster-test: $(STAMP)  ## run both levels on a SLURM and a Grid Engine of its own, installed where they can be
	@command -v sbatch >/dev/null && command -v shellcheck >/dev/null || { apt-get update && \
	    apt-get install --yes --no-install-recommends slurm-wlm munge shellcheck; } || \
	    { echo "SLURM is not here and cannot be installed; nothing was tested."; exit 69; }
	@command -v sge_qmaster >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install --yes \
	    --no-install-recommends gridengine-master gridengine-exec gridengine-client || \
	    echo "Grid Engine cannot be installed; its tests are left out."
	$(BIN)/python -m pytest tests/test_docs_hpc.py
	$(BIN)/python -m pytest -m cluster tests/cluster

container-test: $(STAMP)  ## build the image without a daemon and run it offline, read-only, as anyone
	PYTHON=$(BIN)/python tests/containers/build.sh
	PYTHON=$(BIN)/python tests/containers/singularity.sh || test $$? -eq 69
	$(BIN)/python -m pytest -m container tests/containers

golden: $(STAMP)  ## are all numbers those on record? small runs of everything, in minutes
	$(BIN)/python tests/golden/golden.py compare --out $(GOLDEN) --digests $(GOLDEN_DIGESTS) --archive $(TRIAL)

golden-record: $(STAMP)  ## write the record of `make golden` anew
	$(BIN)/python tests/golden/golden.py record --out $(GOLDEN) --digests $(GOLDEN_DIGESTS) --archive $(TRIAL)

lock:  ## write requirements/constraints.txt anew from an empty environment
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet "torch==$(TORCH)" ".[test,lint]"
	{ sed -n '/^#/p' requirements/constraints.txt; \
	  .lock/bin/python -m pip freeze --exclude fmmtc-bidsapp | sed 's/+cpu$$//'; } > .lock/constraints.txt
	mv .lock/constraints.txt requirements/constraints.txt && rm -rf .lock

lint: $(STAMP)  ## ruff, mypy, import-linter, codespell, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile

format: $(STAMP)  ## apply ruff's formatting and fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## measure speed and memory, into docs/performance.md
	$(BIN)/python benchmarks/performance.py parcellate participant find_runs genotypes cluster encode train_step train report

scaling: $(STAMP)  ## a thousand tiny runs (half an hour), into docs/performance.md
	$(BIN)/python benchmarks/performance.py scaling

recovery: $(STAMP)  ## recovery of planted effects (most of an hour), into docs/performance.md
	$(BIN)/python benchmarks/performance.py recovery

clean:  ## remove what demo, trial and golden wrote
	rm -rf $(DEMO) $(TRIAL_DIR) $(GOLDEN) work
