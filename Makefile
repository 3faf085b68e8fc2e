# The commands that people type are the commands that CI runs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
CORES ?= 2
GRID ?= small
VARIANT ?= paper
SWEEP ?= phase
SEARCH ?= alignment
PROFILE ?=
GPUS ?=
BATCH := $(BIN)/python workflow/batch.py
WHERE = $(if $(GPUS),--gpus $(GPUS)) $(if $(PROFILE),--profile $(PROFILE))
# A process for each core, each with one thread and with whole files of tests.
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest --numprocesses $(CORES) --dist loadfile

.PHONY: study runs prepare report verify weights sweep search test test-fast coverage wheel docs slurm-check lab check lock clean help
.DEFAULT_GOAL := study

$(READY): requirements-torch.lock requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; name another one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIPFLAGS) --requirement requirements-torch.lock
	$(BIN)/python -m pip install --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

study: $(READY) ## train every run of the grid that is not finished, record it, then write tables, figures and the report
	@$(BATCH) --grid $(GRID) --cores $(CORES) $(WHERE)

runs: $(READY) ## of study, the training alone: `make report` makes the tables, on this computer or another one
	@$(BATCH) --grid $(GRID) --cores $(CORES) $(WHERE) --runs-only

prepare: $(READY) ## fetch the text encoders of the grid and build its caches, for runs on nodes without a network
	@$(BATCH) --grid $(GRID) --prepare-only

report: $(READY) ## tables, figures and the report from the committed records alone, without a run or its data
	@$(BATCH) --grid $(GRID) --cores $(CORES) --recorded-only

verify: $(READY) ## train one seed of each variant of the grid again: does this code on this machine give the recorded numbers?
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python workflow/verify.py --grid $(GRID)

weights: $(READY) ## choose the alignment's weight of DATASET (and VARIANT) on validation data; prints what to write
	$(if $(DATASET),,$(error give DATASET=..., the name of a file of config/datasets))
	$(BIN)/python workflow/weights.py --dataset $(DATASET) --variant $(VARIANT) --processes $(CORES)

sweep: $(READY) ## train the runs of SWEEP (of config/study.yaml) that are not recorded; 12_phase_diagram and 14_other_parts show them
	$(BIN)/python workflow/sweep.py $(SWEEP) --processes $(CORES)

search: $(READY) ## train the runs of the random search SEARCH (of config/study.yaml) that are not recorded; 08_robustness shows them
	$(BIN)/python workflow/search.py $(SEARCH) --processes $(CORES)

test: $(READY) ## every test, the doctests and the notebooks included
	$(PYTEST)

test-fast: $(READY) ## the tests for daily work: all but those marked slow
	$(PYTEST) -m "not slow"

coverage: $(READY) ## every test, with the lines of msa_core that none reaches; fewer than 95% is an error
	$(PYTEST) --cov

wheel: $(READY) ## build the wheel into dist/ and use it in a new environment, extra by extra; downloads them all
	$(BIN)/python tests/try_wheel.py $(PIPFLAGS)

docs: $(READY) ## the site, in build/docs; a warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . build/docs

slurm-check: $(READY) ## a small grid on a SLURM of this computer's own; needs root and Debian's packages of SLURM
	$(BIN)/python tests/try_slurm.py check

lab: $(READY) ## JupyterLab on the notebooks
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/jupyter lab notebooks

check: $(READY) ## lint, types, import order, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/nbstripout --verify notebooks/*.ipynb

lock: $(READY) ## add new dependencies to the two lock files; with UPGRADE=1, resolve the newest version of everything
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python workflow/lock.py $(if $(UPGRADE),--upgrade)

help: ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

clean: ## remove the environment, never results
	rm -rf .venv
