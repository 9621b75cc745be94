# DFVisor. `make help` lists the targets; everything runs from a fresh clone as root on Debian 12.
SHELL := /bin/sh
SWITCH ?= s1
SLICE ?= red/gold
ROLE ?= slice/$(SLICE)
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed
# bmv2 where simple_switch_grpc is installed, otherwise the switch that comes with DFVisor.
TARGET ?= $(if $(shell command -v simple_switch_grpc 2>/dev/null),bmv2,softswitch)
NETWORK ?= examples/demo.yaml
PACKAGES := python3-venv gcc libc6-dev iproute2 ethtool iputils-ping iperf3 tcpdump tshark \
            procps default-jre-headless zookeeper openvswitch-switch openssl
export PYTHONDONTWRITEBYTECODE :=

# every target that `make help` lists, and one that it does not
.PHONY: packages $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\#.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  TARGET=bmv2|softswitch chooses the switch (now: $(TARGET)); ONCE=1 ends build-and-run with 0 or 1"

packages:
	@missing=""; for p in $(PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "deps: installing Debian packages:$$missing"; \
	    apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

$(STAMP): requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory packages
	@echo "deps: installing Python packages into $(VENV)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q -r requirements.lock
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

deps: packages $(STAMP) ## install what is missing: Debian packages and a virtual environment

p4: ## compile p4src/ where p4c is installed; otherwise verify the committed files
	@tools/compile-p4.sh

docs: $(STAMP) ## write docs/p4-reference.md anew from the P4 program
	@$(BIN)/python tools/p4reference.py

build: deps p4 ## everything that is needed to run
	@$(BIN)/softswitch --compile-only bmv2_configs/dfvisor.json

build-and-run: build ## the whole system on this machine, with real traffic (ONCE=1: exit afterwards)
	@$(BIN)/python -m emulation.demo --target $(TARGET) --network $(NETWORK) $(if $(ONCE),--once)

down: $(STAMP) ## end whatever build-and-run left
	@$(BIN)/python -m emulation.down

zk-ensemble: deps ## a ZooKeeper ensemble on loopback until Ctrl-C: make zk-ensemble N=3 OBSERVERS=0
	@$(BIN)/python -m emulation.ensemble --servers $(or $(N),3) --observers $(or $(OBSERVERS),0)

shell: .venv-shell/.installed $(STAMP) ## p4runtime-shell at a slicer: make shell SWITCH=s1 SLICE=red/gold
	@$(BIN)/python tools/shell.py $(SWITCH) $(ROLE)

.venv-shell/.installed: requirements-shell.lock
	@echo "shell: installing p4runtime-shell into .venv-shell"
	@test -x .venv-shell/bin/pip || $(PYTHON) -m venv .venv-shell
	@.venv-shell/bin/pip install -q -r requirements-shell.lock
	@touch $@

lint: $(STAMP) ## ruff and clang-format, without changing anything
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run -Werror tools/softswitch/runtime/*.[ch] tools/softswitch/fuzz/*.c tools/bench/*.c

format: $(STAMP) ## format the sources
	@$(BIN)/ruff check -q --fix .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i tools/softswitch/runtime/*.[ch] tools/softswitch/fuzz/*.c tools/bench/*.c

type: $(STAMP) ## mypy, strict
	@$(BIN)/mypy
	@$(BIN)/mypy tools/p4reference.py tools/shell.py

test: build test-unit test-zk ptf parity e2e ## the whole suite

test-unit: $(STAMP) .venv-shell/.installed ## without ZooKeeper and namespaces
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not zk and not e2e"

test-zk: $(STAMP) ## against a real ZooKeeper server
	@$(BIN)/pytest -q -n 2 --dist loadfile -m zk

test-slicer: $(STAMP) .venv-shell/.installed ## the slicer at a real switch, on TARGET: clients, hostile tenants
	@DFVISOR_TARGET=$(TARGET) $(BIN)/pytest -q -m "switch" controlplane/tests/slicer

ptf: build ## packet tests by ptf on TARGET
	@$(BIN)/python ptf_tests/run.py --target $(TARGET)

parity: build ## the softswitch against BMv2: live where it is installed, else its committed vectors
	@$(BIN)/python ptf_tests/parity.py

vectors: build ## record anew what BMv2 sends (needs simple_switch_grpc)
	@$(BIN)/python ptf_tests/parity.py --record

e2e: build ## the whole system in network namespaces
	@DFVISOR_TARGET=$(TARGET) $(BIN)/pytest -q -m e2e

bench-db: build ## the two-level database: latency, bulk, many agents, many VNs (ONLY="latency agents")
	@$(BIN)/python -m bench.db $(if $(ONLY),--only $(ONLY))

bench-switch: build ## the switches beside a bare forwarder: CPU time per packet, packets/s, inserts; ONLY
	@$(BIN)/python -m bench.switch $(if $(ONLY),--only $(ONLY))

bench: bench-switch ## bench-switch, and the latency of a change
	@$(BIN)/python -m bench.change

bench-vnc: build ## the VN controller: a large network, one change in it, and another leader (as root)
	@$(BIN)/python -m bench.vnc
	@$(BIN)/python -m bench.takeover

bench-slicer: build ## the slicer: beside direct writes, under floods, with many slices; ONLY=part
	@$(if $(filter central,$(ONLY)),,$(BIN)/python -m bench.slicer --only $(ONLY))
	@$(if $(ONLY),$(if $(filter central,$(ONLY)),$(BIN)/python -m bench.central),$(BIN)/python -m bench.central)

bench-repair: build ## how long a cut cable is felt, at 10,000 packets/s
	@$(BIN)/python -m bench.repair --target $(TARGET)

fuzz: $(STAMP) ## the softswitch's pipeline under sanitizers, guided by coverage: PACKETS, SEED
	@$(BIN)/python ptf_tests/fuzz.py --packets $(or $(PACKETS),10000000) --seed $(or $(SEED),1)

soak: build fuzz ## longer, seeded runs of the property and parity tests, and the fuzzer
	@HYPOTHESIS_PROFILE=soak $(BIN)/pytest -q controlplane/tests -m "not zk and not e2e"
	@DFVISOR_KILLS=50 $(BIN)/pytest -q controlplane/tests/store/test_local.py -k kill
	@DFVISOR_CHANGES=$(or $(CHANGES),10000) DFVISOR_SEED=$(or $(SEED),1) \
	    $(BIN)/pytest -q -s controlplane/tests/vnc/test_model.py
	@DFVISOR_SEQUENCES=$(or $(SEQUENCES),500) DFVISOR_SEED=$(or $(SEED),1) \
	    $(BIN)/pytest -q -s tools/emulation/tests/test_paths.py
	@DFVISOR_OUTAGE_S=60 DFVISOR_PPS=10000 $(BIN)/pytest -q tools/emulation/tests/test_outages.py
	@$(BIN)/python ptf_tests/parity.py --scenarios $(or $(SCENARIOS),500) --seed $(or $(SEED),1)

clean: ## remove what was built here
	@rm -rf $(VENV) .venv-shell .cache .run build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
