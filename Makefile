# Two commands matter: `make demo` and `make test`. Both install what they need below this
# folder: .venv for the project, .cache for everything beside it. Only uv's and pip's caches of
# downloaded packages are elsewhere, in the user's cache folder.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
UV := .cache/bootstrap/bin/uv
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
# One more than there are processors, as some tests wait for a process.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# One more again: the tests with Meltano wait for processes more than they compute.
MELTANO_WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
# What takes long is left out, but for `make test-all`.
LEFT_OUT ?= and not nightly
# The longest modules with Meltano, and two of the shortest.
MELTANO_FIRST := $(addprefix tests/e2e/,warehouses/test_warehouses.py \
  transform/test_transform.py meltano/test_guide.py meltano/test_meltano.py \
  warehouses/test_hostile_values.py orchestrate/test_dags.py)
# What other Pythons run.
REPRESENTATIVE ?= tests/unit/state tests/unit/records/test_columns.py tests/runs/test_state_versions.py tests/cli/test_output.py

# Never an interpreter from the network.
export UV_PYTHON_DOWNLOADS := never
# Without bytecode every command of Meltano takes 4 s instead of 1 s.
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV

BOOTSTRAPPED := .cache/bootstrap/.installed
INSTALLED := .venv/.installed
MELTANO := .cache/meltano/.installed
DOCS := .cache/docs/.installed
CONTAINERS := .cache/containers/.installed
CYCLONEDX := .cache/cyclonedx/.installed
SINGER_TOOLS := .cache/singer-tools/.installed
DBT := .cache/dbt/.installed
DBT_LOWEST := .cache/dbt-lowest/.installed
DIALECTS := .cache/dbt-dialects/.installed
AIRFLOW := .cache/airflow/.installed
FAKESNOW := .cache/fakesnow/.installed
BQEMULATOR := .cache/bqemulator/.installed
LOADERS := target-postgres target-jsonl target-duckdb target-snowflake target-bigquery
PLUGINS := $(LOADERS:%=.cache/plugins/%.installed)
PEERS := sdk singer dlt airbyte loop
BENCH := $(PEERS:%=.cache/bench/%/.installed)
LOAD_PEERS := sdk dlt loop pipelinewise
BENCH_LOAD := $(LOAD_PEERS:%=.cache/bench/%/.installed)
TAP_PLUGIN := .cache/plugins/tap-email-metrics.installed
DBT_PLUGIN := .cache/plugins/dbt-postgres.installed
PLUGIN_SOURCES := meltano.yml tests/support/plugins.py tests/support/project.py

.PHONY: help
help: ## Show this help
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

.PHONY: demo
demo: $(INSTALLED) $(TAP_PLUGIN) .cache/plugins/target-postgres.installed $(DBT_PLUGIN) ## Simulator to Postgres through Meltano, three runs, compared with the truth; then dbt and charts
	$(PY) -m scripts.demo

.PHONY: test
test: lint types unit test-meltano test-matrix ## Lint, types, and a test of every promise: a quarter of an hour

.PHONY: test-all
test-all: export HYPOTHESIS_PROFILE := nightly
test-all: LEFT_OUT :=
test-all: REPRESENTATIVE := tests
test-all: test soak kill-test orchestrate-demo ## All of it, with inputs drawn anew: also what takes long, all on each Python, soak, kills

.PHONY: lint
lint: $(INSTALLED) docs containers ## Style of code and pages, and which module may import which
	$(PY) -m ruff check --extend-exclude .cache .
	$(PY) -m ruff format --check --extend-exclude .cache .
	.venv/bin/lint-imports --no-cache

# Built from a copy, as Zensical keeps a cache of its own beside its configuration.
.PHONY: docs
docs: $(DOCS) ## The documentation, built strictly into .cache/pages/site
	@rm -rf .cache/pages && mkdir -p .cache/pages && cp -r docs mkdocs.yml .cache/pages
	@cd .cache/pages && ../docs/bin/zensical build --strict -f mkdocs.yml >build.log 2>&1 || { \
	  cat build.log >&2; exit 1; }

# No container engine is needed: the files are only looked at.
.PHONY: containers
containers: $(CONTAINERS) ## Lint the files for containers
	@.cache/containers/bin/hadolint Containerfile
	@.cache/containers/bin/check-jsonschema --quiet \
	  --builtin-schema vendor.compose-spec compose.yaml

.PHONY: types
types: $(INSTALLED) ## Static types
	$(PY) -m mypy

.PHONY: unit
unit: $(INSTALLED) $(SINGER_TOOLS) ## The tests that need no Meltano
	$(PYTEST) -m 'not meltano $(LEFT_OUT)' -n $(WORKERS) --dist worksteal

# Modules run side by side: each has projects, servers and worlds of its own. They share
# the plugins' folders, and Meltano writes into those only when it installs. The longest
# modules come first, so that no worker is left alone with one at the end. A worker whose
# module has one or two tests takes another at once, so short ones are next.
.PHONY: test-meltano
test-meltano: $(INSTALLED) $(TAP_PLUGIN) $(PLUGINS) $(DBT) $(DBT_LOWEST) $(DIALECTS) $(AIRFLOW) $(FAKESNOW) $(BQEMULATOR) chromium ## The tests with the real Meltano, its targets, dbt and Airflow
	$(PYTEST) -m 'meltano $(LEFT_OUT)' -n $(MELTANO_WORKERS) \
	  --dist loadfile --no-loadscope-reorder $(MELTANO_FIRST) tests/e2e

# The browser that a test opens the report in.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 || sudo='sudo -n'; \
	  $${sudo:-} apt-get update -qq && \
	  $${sudo:-} apt-get install -qq --no-install-recommends chromium >/dev/null; \
	} || { echo 'A test needs Chromium and could not install it: on Debian,' \
	  'apt install chromium.' >&2; exit 1; }

# Not echoed: a log would show a password that is in the URL.
.PHONY: report
report: $(INSTALLED) ## An HTML page of your marts: DATABASE=postgresql://… or a DuckDB file, SCHEMA=email_marts
	@$(PY) -m tap_email_metrics.report --database '$(DATABASE)' --schema '$(or $(SCHEMA),email_marts)'

.PHONY: test-warehouses
test-warehouses: $(INSTALLED) $(TAP_PLUGIN) $(PLUGINS) $(FAKESNOW) $(BQEMULATOR) ## Postgres, DuckDB, fakesnow and bqemulator, loaded by the real targets, rows and types compared with the truth
	$(PY) -m tests.e2e.warehouses.load

# The simulator is not shipped, and the others need packages that not every Python has.
.PHONY: test-matrix
test-matrix: $(INSTALLED) ## Representative tests, on the other Pythons that are here
	@$(PY) -m tests.support.interpreters | while read -r version python; do \
	  echo "== Python $$version"; \
	  $(MAKE) --no-print-directory .cache/python$$version/.installed OTHER=$$python </dev/null; \
	  .cache/python$$version/bin/python -m pytest -m 'not meltano and not slow' \
	    $(REPRESENTATIVE) --ignore=tests/simulator --ignore=tests/e2e \
	    --ignore=tests/project/test_benchmarks.py \
	    -p no:cacheprovider -n $(WORKERS) --dist worksteal </dev/null; \
	done

.PHONY: quota-sim
quota-sim: $(INSTALLED) ## Three simulated days of a backfill that is larger than the daily quota
	$(PY) -m tests.runs.constant_contact.quota_sim

.PHONY: bench-answer
bench-answer: $(INSTALLED) ## A LuxSci answer of 24 MB: memory, and every row against the source
	$(PY) -m tests.runs.luxsci.answer_memory

.PHONY: soak
soak: $(INSTALLED) ## Simulated days: DAYS=100000 SEED=1, ODD=all for odd answers, MUTATION=name for a broken tap
	$(PY) -m scripts.soak --days $(or $(DAYS),1000) --seed $(or $(SEED),1) --odd $(or $(ODD),none) --mutation '$(MUTATION)'

.PHONY: kill-test
kill-test: $(INSTALLED) $(TAP_PLUGIN) .cache/plugins/target-postgres.installed ## kill -9 of tap and target under Meltano: KILLS=50 SEED=1, then compared with the truth
	$(PY) -m tests.e2e.kill.kills --kills $(or $(KILLS),50) --seed $(or $(SEED),1)

.PHONY: orchestrate-demo
orchestrate-demo: $(INSTALLED) $(AIRFLOW) $(TAP_PLUGIN) .cache/plugins/target-postgres.installed ## 20 accounts under Airflow in parallel, a worker killed, compared with the truth
	$(PY) -m tests.e2e.orchestrate.demo

.PHONY: bench
bench: $(INSTALLED) $(BENCH) ## The tap beside its peers, in everything: half an hour
	$(PY) -m benchmarks

.PHONY: bench-quick
bench-quick: $(INSTALLED) .cache/bench/sdk/.installed .cache/bench/loop/.installed ## The tap, a plain SDK tap and a bare loop: under three minutes
	$(PY) -m benchmarks --quick

.PHONY: bench-load
bench-load: $(INSTALLED) $(BENCH_LOAD) $(PLUGINS) $(FAKESNOW) $(BQEMULATOR) ## The same opens into warehouses, by the tap and by its peers: ROUNDS=3 ROWS=100000
	$(PY) -m benchmarks.load --emulators --rows $(or $(ROWS),100000) --rounds $(or $(ROUNDS),3)

.PHONY: dist
dist: $(INSTALLED) ## Wheel and source archive in dist/, the wheel installed and tried
	rm -rf dist
	$(UV) build --quiet --out-dir dist
	WHEEL=$$(echo dist/*.whl) $(PYTEST) tests/project/test_package.py

.PHONY: sbom
sbom: $(CYCLONEDX) ## What the wheel in dist/ brings with it, as CycloneDX, into build/sbom.json
	@rm -rf build && mkdir -p build
	@$(UV) venv --quiet --python .cache/bootstrap/bin/python build/environment
	@$(UV) pip install --quiet --python build/environment/bin/python -c constraints.txt dist/*.whl
	@.cache/cyclonedx/bin/cyclonedx-py environment --output-reproducible \
	  --output-file build/sbom.json build/environment/bin/python

.PHONY: publish
publish: $(BOOTSTRAPPED) ## Upload what is in dist/; only the release workflow is trusted to
	$(UV) publish --trusted-publishing always

.PHONY: constraints
constraints: $(BOOTSTRAPPED) ## Resolve all pinned versions anew
	resolve() { $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --no-annotate --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make constraints' "$$@"; }; \
	resolve pyproject.toml --group dev --group pipeline --extra report \
	  --output-file constraints.txt; \
	for file in constraints/*.in; do \
	  resolve "$$file" --output-file "$${file%.in}.txt"; \
	done

.PHONY: clean
clean: ## Remove all that was installed or built here
	rm -rf .venv .cache .meltano .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BOOTSTRAPPED): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or later is needed; $(PYTHON) is' \
	    "$$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .cache/bootstrap || { \
	  echo 'The venv module is missing: on Debian and Ubuntu, apt install python3-venv.' >&2; \
	  exit 1; }
	@echo 'Installing uv, which installs everything else, into .cache/bootstrap'
	@.cache/bootstrap/bin/python -m pip install --quiet --disable-pip-version-check -c $< uv
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt $(BOOTSTRAPPED)
	@test -x $(PY) || $(UV) venv --quiet --python .cache/bootstrap/bin/python .venv
	@echo 'Installing the project into .venv'
	@$(UV) pip install --quiet --python $(PY) -c constraints.txt \
	  --group dev --group pipeline -e '.[report]'
	@touch $@

.cache/python%/.installed: pyproject.toml constraints.txt $(BOOTSTRAPPED)
	@test -x $(@D)/bin/python || $(UV) venv --quiet --python $(OTHER) $(@D)
	@echo 'Installing $(notdir $(@D)) into $(@D)'
	@$(UV) pip install --quiet --python $(@D)/bin/python -c constraints.txt --group dev -e .
	@touch $@

# A tool in an environment of its own, pinned by constraints/<tool>.txt.
$(DOCS) $(CONTAINERS) $(CYCLONEDX) $(MELTANO) $(SINGER_TOOLS) $(DBT) $(DBT_LOWEST) $(DIALECTS) $(AIRFLOW) $(FAKESNOW) $(BQEMULATOR): .cache/%/.installed: constraints/%.in constraints/%.txt $(BOOTSTRAPPED)
	@test -x $(@D)/bin/python || $(UV) venv --quiet --python .cache/bootstrap/bin/python $(@D)
	@echo 'Installing $(notdir $(@D)) into $(@D)'
	@$(UV) pip install --quiet --python $(@D)/bin/python -c constraints/$*.txt -r $<
	@touch $@

# A peer of the benchmarks, likewise.
.cache/bench/%/.installed: constraints/bench-%.in constraints/bench-%.txt $(BOOTSTRAPPED)
	@test -x $(@D)/bin/python || $(UV) venv --quiet --python .cache/bootstrap/bin/python $(@D)
	@echo 'Installing $(notdir $(@D)) into $(@D)'
	@$(UV) pip install --quiet --python $(@D)/bin/python -c constraints/bench-$*.txt -r $<
	@touch $@

# Plugins are installed once, by Meltano itself, and linked into each project of a test.
.cache/plugins/%.installed: constraints/%.txt $(PLUGIN_SOURCES) $(INSTALLED) $(MELTANO)
	@echo 'Having Meltano install $* into .cache/plugins'
	@$(PY) -m tests.support.plugins $* --constraints constraints/$*.txt
	@touch $@

$(DBT_PLUGIN): constraints/dbt.txt $(PLUGIN_SOURCES) $(INSTALLED) $(MELTANO)
	@echo 'Having Meltano install dbt-postgres into .cache/plugins'
	@$(PY) -m tests.support.plugins dbt-postgres --constraints $<
	@touch $@

$(TAP_PLUGIN): pyproject.toml constraints.txt $(PLUGIN_SOURCES) $(INSTALLED) $(MELTANO)
	@echo 'Having Meltano install tap-email-metrics into .cache/plugins'
	@$(PY) -m tests.support.plugins tap-email-metrics --constraints constraints.txt
	@touch $@
