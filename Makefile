# Every target is one call of a tool; `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PRESET ?= edge
UNIT   ?= core
SPEC   ?= criteo
OUT    ?= build/verilog/$(PRESET)
ARGS   ?=
export PYTHONHASHSEED := 0

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(VENV)/.ready ## create the virtual environment with pinned dependencies

$(VENV)/.ready: pyproject.toml requirements.txt scripts/check_prerequisites.py
	$(PYTHON) scripts/check_prerequisites.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

run: setup ## the main job: click log to ranked films through the netlist (ARGS="--data synthetic")
	$(BIN)/rpaccel run $(ARGS)

test: setup ## the tests
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-slow: setup ## the slow tests: other netlists, other simulators, area
	$(BIN)/python -m pytest -n 2 -m "slow and not nightly" $(ARGS)

test-nightly: setup ## more of the slow tests, an hour or more: every proof, place and route, larger netlists, whole studies
	$(BIN)/python -m pytest -n 2 -m nightly $(ARGS)

formal: setup ## bounded proofs of units (docs/formal.md)
	$(BIN)/python -m pytest -n 2 tests/formal $(ARGS)

verilog: setup ## Verilog, manifest and C header of PRESET into OUT
	$(BIN)/rpaccel verilog --preset $(PRESET) --out $(OUT) $(ARGS)

sim: setup ## random queries through the netlist of PRESET against the golden model
	$(BIN)/rpaccel sim --preset $(PRESET) $(ARGS)

soak: setup ## 10,000 random queries with faults, resets, deadlines and new splits (docs/generated/soak.md; ARGS="--queries 500")
	$(BIN)/rpaccel soak --page docs/generated/soak.md $(ARGS)

test-browser: setup ## the page of `make report` in headless Chromium (Debian: chromium-headless-shell); part of `make test`
	REQUIRE_BROWSER=1 $(BIN)/python -m pytest -n 0 tests/rpaccel/test_explorer_browser.py $(ARGS)

fpga: PRESET = tiny
fpga: setup ## place and route of UNIT of PRESET on an ECP5-85k (UNIT=core|array|..., the whole machine: UNIT=top PRESET=ecp5)
	$(BIN)/rpaccel fpga --preset $(PRESET) --unit $(UNIT) $(ARGS)

fpga-page: setup ## cells, array and core of `tiny` and the whole of `ecp5`, placed and routed (docs/generated/fpga.md; 30 minutes at first)
	$(BIN)/rpaccel fpga-page $(ARGS)

synth: setup ## UltraScale+ estimate of PRESET and the smallest part (ARGS=--dsp-packing)
	$(BIN)/rpaccel synth --preset $(PRESET) $(ARGS)

synth-page: setup ## the same of every preset, a row each with one and with two MACs per DSP (docs/generated/synth.md; half an hour at first, more with `paper`; ARGS="--presets tiny,edge")
	$(BIN)/rpaccel synth-page $(ARGS)

sweep: setup ## evaluate the design space SPEC with the performance model (SPEC=criteo_10m, or a YAML file)
	$(BIN)/rpaccel sweep --spec $(SPEC) $(ARGS)

bench: setup ## rates and ratios: simulation speed, model speed, build times
	$(BIN)/rpaccel bench $(ARGS)

array-bench: setup ## the array alone: seconds to write and build it, cycles/s (ARGS="--sizes 8,16")
	$(BIN)/rpaccel array-bench $(ARGS)

efficiency: setup ## MAC efficiency of the core in RTL on Criteo's rankers (ARGS="--sizes 128"; minutes a size)
	$(BIN)/rpaccel efficiency $(ARGS)

layers: setup ## random layers on split arrays, netlist and model cycle for cycle (docs/generated/layers.md)
	$(BIN)/rpaccel layers $(ARGS)

figures: setup ## RecPipe's figures with our points, and better caches (docs/generated/figures.md; ARGS="--seed 1")
	$(BIN)/rpaccel figures $(ARGS)

lint: setup ## ruff and mypy on Python; verilator and yosys on the netlist of PRESET
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/rpaccel lint --preset $(PRESET) $(ARGS)

train: setup ## train the rankers again (DATA=folder for a log of your own); installs torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	$(BIN)/rpaccel train $(if $(DATA),--data $(DATA)) $(ARGS)

schedule: setup ## choose a pipeline for a load, an SLA and a quality target (ARGS="--workload criteo --qps 500")
	$(BIN)/rpaccel schedule $(ARGS)

recpipe: setup ## joint search over pipelines, devices and loads: fronts, slices (docs/generated/recpipe.md; minutes)
	$(BIN)/rpaccel recpipe $(ARGS)

calibrate: setup ## ways of choosing int8 scales: held-out logit errors, NDCG (docs/generated/calibration.md)
	$(BIN)/rpaccel calibrate $(ARGS)

filter-study: setup ## the bucket filter's bins, edges and modes against exact top-k (docs/generated/filter.md)
	$(BIN)/rpaccel filter-study $(ARGS)

row-study: setup ## row banks beside an ideal requester on DDR4 and HBM2 (docs/generated/row_banks.md)
	$(BIN)/rpaccel row-study $(ARGS)

row-caches: setup ## pinned rows and prefetches in the netlist, on the main job's queries (docs/generated/row_caches.md)
	$(BIN)/rpaccel row-caches $(ARGS)

row-model: setup ## the model of the row banks beside the netlist, and the traffic they save (docs/generated/row_model.md)
	$(BIN)/rpaccel row-model $(ARGS)

retrieval-scan: setup ## scans of a corpus in the netlist beside an ideal requester (docs/generated/retrieval_scan.md)
	$(BIN)/rpaccel retrieval-scan $(ARGS)

criteo: setup ## Criteo-shaped queries through the netlist of `default`, split 8 + 2 (docs/generated/criteo.md)
	$(BIN)/rpaccel criteo --page docs/generated/criteo.md $(ARGS)

paper: setup ## the same on `paper`, 128 x 128: 32 queries in flight, the split changed twice (25 minutes; docs/generated/paper.md)
	$(BIN)/rpaccel criteo --preset paper --queries 32 --live 4 --pin-banks 2 --out results/paper --page docs/generated/paper.md $(ARGS)

validate: setup ## the performance model beside the counters of 210 random queries on 5 netlists, of 216 points of a sweep on 3 (docs/generated/validation.md; ARGS=--check: fail above a ceiling)
	$(BIN)/rpaccel validate --page docs/generated/validation.md $(ARGS)

ablation: setup ## RPAccel's ideas alone and together, against two baselines (docs/generated/ablation.md); ARGS=--rtl: on the netlist of `default` beside the model (docs/generated/ablation_rtl.md); ARGS="--rtl --scaled": with rankers scaled with its array (docs/generated/ablation_rtl_scaled.md)
	$(BIN)/rpaccel ablation $(ARGS)

scale-sim: setup ## SCALE-Sim 3 beside its closed forms, layer by layer (docs/generated/scale_sim.md)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[scalesim]'
	$(BIN)/rpaccel scale-sim $(ARGS)

artifact: setup ## latencies of RecPipe's artifact, and term by term from there to ours (docs/generated/artifact.md)
	$(BIN)/rpaccel artifact $(ARGS)

energy: setup ## energy of a query, queries per second and watt (docs/generated/energy.md)
	$(BIN)/rpaccel energy $(ARGS)

area: setup ## gate equivalents and mm2 of `paper` at 12 nm (docs/generated/area.md; minutes)
	$(BIN)/rpaccel area $(ARGS)

claims: setup ## RecPipe's claims C1 to C34 beside ours (docs/generated/claims.md; minutes)
	$(BIN)/rpaccel claims $(ARGS)

serving-figures: setup ## RecPipe's figures 7, 8, 12, 14 from its own service times (docs/generated/serving_figures.md)
	$(BIN)/rpaccel serving-figures $(ARGS)

online: setup ## pipeline and split that follow a day's load, against every static choice (minutes; docs/generated/online.md)
	$(BIN)/rpaccel online $(ARGS)

deeprecsched: setup ## DeepRecSched, ours and the optimum on eight models, three targets (20 minutes; docs/generated/deeprecsched.md)
	$(BIN)/rpaccel deeprecsched $(ARGS)

queue-scale: setup ## 10,000 queueing configurations of 100,000 queries each (ARGS="--jobs 2")
	$(BIN)/rpaccel queue-scale $(ARGS)

retrieval-study: setup ## the retrieval engine in the model, beside published ones and Faiss (docs/generated/retrieval.md)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[faiss]'
	$(BIN)/rpaccel retrieval-study $(ARGS)

retrieval-area: setup ## LUTs of selector, score filter and a register queue by K (docs/generated/retrieval_area.md)
	$(BIN)/rpaccel retrieval-area $(ARGS)

deeprec: setup ## sizes, measured times and cited devices of DeepRecInfra's models (docs/generated/deeprec.md)
	$(BIN)/rpaccel deeprec $(ARGS)

serve: setup ## pipelines for real under MLPerf LoadGen beside their simulation, tables in shared memory (docs/generated/serve.md; 10 minutes, 4.3 GB; else ARGS="--tables FOLDER")
	$(BIN)/rpaccel serve --stages dlrm-rmc3:256,rmlarge@accelerator:64 --stages dlrm-rmc1:64 --stages ncf:256,rmlarge@accelerator:64 --stages rmlarge@accelerator:64,dlrm-rmc1:16 --queries 1000 --seconds 20 --runs 5 --tables /dev/shm/rpaccel --page docs/generated/serve.md $(ARGS); status=$$?; rm -rf /dev/shm/rpaccel; exit $$status

report: setup ## one HTML page: limits, Pareto front of SPEC, a design's parts and timeline (build/report/; 1 minute)
	$(BIN)/rpaccel report --spec $(SPEC) $(ARGS)

event: setup ## one load on one machine of SPEC, event by event; a trace for Perfetto (ARGS="--axis k=256 --queries 32")
	$(BIN)/rpaccel event --spec $(SPEC) $(ARGS)

redraw: setup ## draw the last run's index.html again
	$(BIN)/rpaccel redraw $(ARGS)

clean: ## remove generated files, keep the virtual environment and the data
	rm -rf build/verilog build/verilator build/tb build/cache build/formal build/checks results/run results/sweep .pytest_cache .mypy_cache .ruff_cache
