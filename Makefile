# One place for every command; CI calls the same ones. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed-$(shell cksum requirements.lock pyproject.toml client/pyproject.toml | cksum | cut -d' ' -f1)
SPARK_STAMP := $(VENV)/.spark-$(shell cksum requirements-spark.lock | cut -d' ' -f1)
DATA ?=
ONCE ?=
FRESH ?=
EXAMPLES ?= 50000
CASES ?= 5000
LOAD_OPTIONS ?=
EVENTS ?= 20000
KILLS ?= 25
SEED ?=
QUICK ?=
REPORT ?=
PROCESSES ?= 4
OUT ?= .local/benchmark
FAR_TRANS ?=
FOLDER ?=

.DEFAULT_GOAL := help
.PHONY: help setup spark lock demo test test-fast lint types kafka load migrate bench growth benchmark chaos stateful security sbom clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## create .venv from requirements.lock (every other command does this itself)

$(STAMP): requirements.lock pyproject.toml client/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed as $(PYTHON)"; exit 1; }
	@echo "1 of 4: create $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) script/choose_requirements.py requirements.lock > $(VENV)/requirements.txt
	@echo "2 of 4: install $$(grep -c == $(VENV)/requirements.txt) packages; the first time this takes some minutes"
	@set -o pipefail; LIGHTFM_NO_CFLAGS=1 $(RUN) -m pip install --progress-bar off --disable-pip-version-check --require-hashes \
	    -r $(VENV)/requirements.txt | sed -u -n -E 's/^(Collecting [^ (]+|Installing collected packages).*/  \1/p'
	@echo "3 of 4: install this project"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e client
	@echo "4 of 4: fetch Kafka, unless it is in the cache"
	@$(RUN) -m script.local.kafka fetch || echo "the local broker is not available yet; everything else is set up"
	@rm -f $(VENV)/.installed-*
	@touch $(STAMP)

spark: $(STAMP) $(SPARK_STAMP)  ## also install Apache Spark, for TRAINING_ENGINE=spark and its tests (430 MB)

# Not part of the other installation: the demo would wait for it.
$(SPARK_STAMP): requirements-spark.lock | $(STAMP)
	@echo "install Apache Spark; this takes some minutes"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r requirements-spark.lock
	@rm -f $(VENV)/.spark-*
	@touch $@

lock:  ## recompute requirements.lock, requirements-image.lock and requirements-spark.lock (needs uv)
	uv pip compile -q --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements.lock pyproject.toml -o requirements-image.lock
	uv pip compile -q --universal --python-version 3.11 --extra spark --generate-hashes --no-emit-index-url --no-header -c requirements.lock pyproject.toml -o requirements-spark.lock

demo: $(STAMP)  ## everything with one command: Kafka, Postgres, data, model, answers (DATA=DIR, ONCE=1 to stop after the answers, FRESH=1 to forget earlier demos)
	@$(RUN) script/demo.py $(if $(DATA),--data $(DATA)) $(if $(ONCE),--once) $(if $(FRESH),--fresh) $(LOAD_OPTIONS)

test: $(STAMP)  ## every test that this machine can run, in PROCESSES=4; skipped ones are named with the reason
	@$(MAKE) --no-print-directory spark || echo "Apache Spark is not installed: its tests are skipped"
	@$(RUN) -m pytest -ra -n $(PROCESSES) --dist loadscope --no-loadscope-reorder --hypothesis-profile=thorough

test-fast: $(STAMP)  ## the inner loop: unit and contract tests, no server
	@$(RUN) -m pytest -q tests/unit tests/contract

lint: $(STAMP)  ## ruff (style, formatting) and import-linter (who may import whom)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports

types: $(STAMP)  ## mypy, strict
	@$(VENV)/bin/mypy
	@$(VENV)/bin/mypy FAR-Trans/*.py  # by itself: FAR-Trans is no package name, and script.py shares one

kafka: $(STAMP)  ## only the local Kafka broker, kept running with its data, until Ctrl-C
	@$(RUN) -m script.local.kafka run

migrate: $(STAMP)  ## upgrade the database and create the topics (DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS)
	@$(RUN) -m shared.migrations

load: $(STAMP)  ## load the FAR-Trans tables from DATA=DIR (default FAR-Trans/) into DATABASE_URL (LOAD_OPTIONS="--max-rejects 5%")
	@$(RUN) FAR-Trans/script.py $(if $(DATA),--data $(DATA)) $(LOAD_OPTIONS)

bench: $(STAMP)  ## every part of the system beside its limit, in one run (QUICK=1, DATA=DIR, REPORT=file.json)
	@OMP_NUM_THREADS=1 $(RUN) script/bench.py $(if $(QUICK),--quick) $(if $(DATA),--data $(DATA)) $(if $(REPORT),--report $(REPORT))

growth: $(STAMP)  ## how time, memory and size grow with customers and assets (QUICK=1, REPORT=file.json, FOLDER=DIR keeps the data)
	@$(RUN) script/growth.py $(if $(QUICK),--quick) $(if $(REPORT),--report $(REPORT)) $(if $(FOLDER),--folder $(FOLDER))

benchmark: $(STAMP)  ## all recommenders on the FAR-Trans protocol in DATA=DIR, one report in OUT (default .local/benchmark)
	@test -n "$(DATA)" || { echo "make benchmark DATA=DIR: the folder with first_buys.csv and splits/"; exit 2; }
	@OMP_NUM_THREADS=1 $(RUN) -m trainer.benchmark report --data $(DATA) --output $(OUT) $(if $(FAR_TRANS),--far-trans $(FAR_TRANS))

chaos: $(STAMP)  ## the fault campaign: nothing lost, nothing doubled (EVENTS=20000, KILLS=25, SEED=.., REPORT=file.json)
	@$(RUN) -m tests.chaos --events $(EVENTS) --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(if $(REPORT),--report $(REPORT))

stateful: $(STAMP)  ## the loops of worker and trainer against their models, with many examples (EXAMPLES=50000)
	@STATEFUL_EXAMPLES=$(EXAMPLES) $(RUN) -m pytest -q --timeout 0 tests/slow/worker/test_loop_stateful.py tests/slow/trainer/service/test_any_order.py

security: $(STAMP)  ## the attacks on the public surface, with CASES=5000 requests generated from the OpenAPI document
	@SECURITY_CASES=$(CASES) $(RUN) -m pytest -q -m security

sbom: $(STAMP)  ## build/sbom/sbom.json (CycloneDX): every package, its version and licence; fails for a licence that is not allowed
	@$(RUN) script/sbom.py

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
