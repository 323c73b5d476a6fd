# README's two commands are `make demo` and `make test`; everything else serves them.
export LONGSHORE_STRICT := 1
BUILD := .build/debug

.PHONY: setup build engines test check format lint demo up down release bench chaos chaos-containers chaos-streams nat schemathesis fuzz test-vm clean

## Install what the project needs from the system, and Python wheels for the tests.
setup:
	@scripts/setup

build: setup
	swift build --build-tests

test: build engines
	@scripts/test

## Python environments of the large engines (PyTorch, LangChain) and of LiteLLM, for the tests: two gigabytes and two minutes.
engines: setup
	@for engine in transformers langchain; do scripts/engine-venv $$engine; done
	@scripts/locked-venv Tests/Clients/litellm/requirements.txt .build/clients/litellm

format:
	swift format --in-place --recursive --parallel Package.swift Plugins Sources Tests

lint:
	swift format lint --strict --recursive --parallel Package.swift Plugins Sources Tests

## What a landing must pass.
check: lint test

## Coordinator and agent on loopback, two signed cargos, jobs with live logs; stops what it started.
demo: setup
	swift build
	@scripts/demo $(BUILD)

## The same, left running.
up: setup
	swift build
	@scripts/up $(BUILD)

down:
	@scripts/down

## One static binary a program, as it is shipped.
release: setup
	swift build -c release --static-swift-stdlib

## Numbers beside peers, in a release build.
bench: release
	@Benchmarks/run .build/release

## cgroup v2 in a virtual machine of its own.
test-vm: build
	@scripts/test-vm $(BUILD)

## What the queue promises, on both stores: programs killed 200 times, PostgreSQL crashed, a full disk, a leaping clock, a
## coordinator stopped, a host cut off, a job that brings down its hosts.
chaos: setup
	swift build
	@scripts/chaos $(BUILD) --kills $(or $(KILLS),200)
	@scripts/chaos $(BUILD) --kills $(or $(KILLS),200) --store postgres --only kills --only restarts

## An hour of container jobs while their agents and their engine are killed: `make chaos-containers SECONDS=60` for less.
chaos-containers: setup
	swift build
	@scripts/chaos-containers $(BUILD) $(or $(SECONDS),3600)

## Hosts killed at random under 50 streaming clients, five minutes: `make chaos-streams SECONDS=20` for less.
chaos-streams: setup
	swift build
	@scripts/chaos-streams $(BUILD) $(or $(SECONDS),300)

## Two hosts behind NAT, in network namespaces: chat, jobs, cancel, and a link that is cut for twenty seconds.
nat: setup
	swift build
	@scripts/nat $(BUILD)

## Requests made from /openapi.json: no 500, no answer that the document does not allow.
schemathesis: setup
	swift build --product longshore-coordinator
	@scripts/schemathesis $(BUILD)

## Ten minutes for each target: `make fuzz SECONDS=60` for less.
fuzz: setup
	@scripts/fuzz $(or $(SECONDS),600)

clean:
	rm -rf .build build
