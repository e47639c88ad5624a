# gluelamp: two commands for everybody (reproduce-glue, test), the rest for those who stay.
.DEFAULT_GOAL := help
.PHONY: help setup reproduce-glue reproduce-lamp tables report measure measure-large certificates capabilities docs prepare test test-learning test-browser lint format benchmark clean

SCALE ?= demo
DATA ?= auto
ROOT ?=
JOBS ?= 1
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PLACE = data=$(DATA) $(if $(ROOT),data.root=$(ROOT))
SIDE_BY_SIDE := $(if $(filter-out 1,$(JOBS)),hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS))
SWEEP = $(RUN) scripts/train.py -m $(PLACE) $(SIDE_BY_SIDE)

help:  ## list every target
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 18
	@echo
	@echo "SCALE=demo|small|paper (now $(SCALE))  DATA=auto|hub|local|sample (now $(DATA))  ROOT=DIR of local data"
	@echo "JOBS=N runs side by side (now $(JOBS))"

setup: $(INSTALLED)  ## make .venv with the tested set of packages

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("gluelamp needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,dev]'
	@touch $@

reproduce-glue: setup  ## train methods x tasks at SCALE on DATA, count, time, write results/tables and report.html
	$(SWEEP) experiment=glue_$(SCALE)
	$(RUN) scripts/measure.py -m experiment=parameters
	$(RUN) scripts/measure.py -m experiment=latency latency.batches=[1] latency.lengths=[128] latency.precisions=[fp32]
	$(MAKE) --no-print-directory report

# banks lie in a folder named after their source
reproduce-lamp: DATA := $(if $(filter auto,$(DATA)),sample,$(DATA))
reproduce-lamp: setup  ## train one adaptation for each person of LaMP-2N, warm X-PEFT too, write the tables and report.html
	$(SWEEP) experiment=lamp_demo
	$(SWEEP) experiment=lamp_shared
	$(SWEEP) experiment=lamp_pafi
	$(SWEEP) experiment=lamp_bank
	$(SWEEP) experiment=lamp_warm
	$(MAKE) --no-print-directory report

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

certificates: setup  ## certify that merged methods add no latency: over an hour, can be stopped and continued
	$(RUN) scripts/measure.py -m experiment=certificate

capabilities: setup  ## find out by trying what each method can do, write docs/capabilities.md
	$(RUN) scripts/capabilities.py

docs: setup  ## build the documentation site into site/, without a network; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --clean

tables: setup  ## regenerate results/tables from the records alone
	$(RUN) scripts/report.py what=[tables]

report: setup  ## regenerate results/tables, results/figures and the page results/report.html
	$(RUN) scripts/report.py

prepare: setup  ## copy GLUE from DATA to data/glue as checked Parquet, for use without a network
	$(RUN) scripts/prepare.py $(PLACE)

test test-learning test-browser: export OMP_NUM_THREADS = 1  # one test process a core
test: setup  ## run the tests, all but those of the next two lines
	$(VENV)/bin/pytest -n auto --dist worksteal -m 'not learning and not browser'

test-learning: setup  ## train every method on real and sample rows until it has learnt
	$(VENV)/bin/pytest -n auto --dist worksteal -m learning

test-browser: setup  ## open the report in Debian's Chromium, which root installs where it is missing
	@command -v chromedriver >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq \
	  && apt-get install -qq --yes --no-install-recommends chromium chromium-driver >/dev/null; } \
	  || echo "Chromium is not here and cannot be installed: its tests are skipped."
	$(VENV)/bin/pytest -m browser tests/browser

lint: setup  ## check style, types and the order of the floors
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: setup  ## rewrite to the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

benchmark: setup  ## time training against Hugging Face Trainer with peft (needs real CoLA: ROOT=DIR), each method, profiles
	$(RUN) benchmarks/training_speed.py $(if $(ROOT),--data $(ROOT))
	$(RUN) benchmarks/method_cost.py $(if $(ROOT),--data $(ROOT))
	$(RUN) benchmarks/profiles.py
	$(RUN) benchmarks/profile_store.py

clean:  ## remove caches and the virtual environment; results stay
	rm -rf $(VENV) site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache results/cache
