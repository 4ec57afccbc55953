# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
BIN := .venv/bin
# Idle OpenMP threads sleep instead of spinning; two test processes with a torch thread each fill two cores.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo demo-short test test-runtimes test-slow test-data test-zoo docs bench bench-search bench-search-quick
.PHONY: bench-latency bench-faults bench-faults-quick clean

demo: .venv/ready  ## the whole job on handwritten digits, about a minute and a half
	$(BIN)/netwright fit digits --out runs/digits

demo-short: .venv/ready  ## the same with little training and few networks, and checks of what it wrote
	$(BIN)/netwright fit digits --out runs/short --train.epochs 4 --evaluations 24 --export.epochs 1
	$(BIN)/python benchmarks/check_output.py runs/short

test: .venv/ready  ## lint, types and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 -m "not slow and not data and not zoo"

test-runtimes: .venv/runtimes  ## every runtime: OpenVINO, ExecuTorch, LiteRT and ncnn beside those that are always installed
	$(BIN)/pytest -n 2 tests/measure/runtimes -m "not slow"

test-slow: .venv/ready  ## tests that take long
	$(BIN)/pytest -m "slow and not zoo"

test-data: .venv/ready  ## published weights and measured tables: needs ../shared/data and ../shared/bench
	$(BIN)/pytest -m data

test-zoo: .venv/models  ## models of torchvision, timm, transformers, diffusers, and the ofa package, wrapped
	$(BIN)/pytest -n 2 -m "zoo and not slow"
	$(BIN)/pytest tests/nets/families tests/sources -m "not slow and not data"

docs: .venv/docs  ## docs/_build/index.html
	$(BIN)/sphinx-build -q -W -b html docs docs/_build

bench: .venv/ready  ## what an active sub-network costs beside its extracted twin
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/wrap_cost.py

bench-search: .venv/ready  ## strategies beside their peers: needs ../shared/bench; an hour or two
	$(BIN)/python benchmarks/search_ofa.py --jobs 2
	$(BIN)/python benchmarks/search_ofa.py --jobs 2 --objectives three
	$(BIN)/python benchmarks/search_ofa.py --jobs 2 --objectives limit
	$(BIN)/python benchmarks/search_ofa.py --jobs 2 --noise
	$(BIN)/python benchmarks/search_spaces.py

bench-search-quick: .venv/ready  ## fails where guided no longer leads random and NSGA-II: needs ../shared/bench
	$(BIN)/python benchmarks/search_ofa.py --quick

bench-latency: .venv/runtimes  ## how far measured and predicted latencies can be trusted: an hour; needs ../shared
	$(BIN)/python benchmarks/repeatability.py
	$(BIN)/python benchmarks/truth.py
	$(BIN)/python benchmarks/latency_table.py
	$(BIN)/python benchmarks/latency_transfer.py
	$(BIN)/python benchmarks/precisions.py
	$(BIN)/python benchmarks/limits.py
	$(BIN)/python benchmarks/slow_device.py
	$(BIN)/python benchmarks/rank.py

bench-faults: .venv/ready  ## kills, full disks, limits, poison: what a job survives and what it says; large studies: an hour
	$(BIN)/python benchmarks/faults.py
	$(BIN)/python benchmarks/executors.py
	$(BIN)/python benchmarks/study_scale.py

bench-faults-quick: .venv/ready  ## fails where a fault is not survived, or not said in one line
	$(BIN)/python benchmarks/faults.py --short
	$(BIN)/python benchmarks/executors.py --short --only faults

clean:
	rm -rf .venv runs docs/_build docs/python.md docs/recipe-reference.md

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("netwright needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# torchvision and timm have no builds beside this PyTorch: without their dependencies, and with a stub (tests/zoo).
# Of diffusers only its networks are needed.
.venv/models: .venv/ready
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -c constraints.txt torchvision timm diffusers ofa torch-pruning
	touch $@

.venv/runtimes: .venv/ready
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[runtimes]'
	touch $@

.venv/docs: .venv/ready
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@
