# Tools: Go, gcc, make and git. `make deps` installs the rest on Debian.
GO ?= go
BIN := bin/steelyard
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"

.DEFAULT_GOAL := help
.PHONY: help build demo test test-short bench lint check deps policies check-policies layout examples fuzz clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/steelyard
	$(GOBUILD) -o $(BIN) ./cmd/steelyard

demo: build deps-demo ## Run the self-contained demo in network namespaces (root, about a minute)
	$(BIN) demo $(DEMOFLAGS)

# Under the race detector a guest takes ten times as long to compile. What only runs guests, and
# shares no memory with them, does without it; the host of the guests does not.
PLAIN := /(examples|core/sim|plugins/(abi|builtin|plugintest))(/|$$)
# Thousands of rulesets written by one goroutine: the detector has nothing to find and takes three times as long.
PLAINSYNC := TestSyncFromAnywhereToAnywhere|TestSyncAnyPlans

# make lint has the vet, which is a seventh of building the tests.
test: deps ## Install what the tests need, then run them: with the race detector, but for those that only run guests
	$(GO) test -race -vet=off -count=1 -parallel 3 -timeout 14m -skip '$(PLAINSYNC)' $$($(GO) list ./... | grep -vE '$(PLAIN)')
	$(GO) test -count=1 $$($(GO) list ./... | grep -E '$(PLAIN)')
	$(GO) test -count=1 -run 'TestHostileCorpus|TestInspect|TestThousandSwaps|TestWorkerMemory|TestLoadRefuses' ./plugins
	$(GO) test -count=1 -run '$(PLAINSYNC)' ./core/nft

test-short: ## Run the tests without the race detector, installing nothing
	$(GO) test ./...

bench: ## Run the benchmarks of docs/benchmarks.md
	.ci/bench

.PHONY: bench-peers
bench-peers: build ## Measure beside nftlb and haproxy, in namespaces (root, about five minutes)
	.ci/peers

kernel-lab: ## Boot Debian's kernels in an emulator: run the data plane's tests there, count instructions per packet (an hour)
	.ci/kernel-lab/run

kernel-lab-short: ## The same in five minutes: one kernel, up to 1,000 services
	.ci/kernel-lab/run short

.PHONY: kernel-lab kernel-lab-short

.PHONY: soak
soak: ## Run the long traffic tests: 10 million connections, 100 kills, foreign flushes (root, a quarter of an hour)
	@.ci/deps nftables iproute2 iptables keepalived bird2 conntrackd
	CI=true STEELYARD_SOAK=1 $(GO) test -p 1 -count=1 -v -timeout 40m -run 'TestSoak' ./core/lab/soak ./core/lab/ha ./cmd/steelyard

.PHONY: cluster-lab
cluster-lab: ## Five nodes and three nats-servers live through 18 faults, with clients at work (root, eight minutes)
	@.ci/deps nftables iproute2 nats-server
	CI=true STEELYARD_CLUSTER_LAB=1 $(GO) test -count=1 -v -timeout 30m -run 'TestClusterFaults' ./cmd/steelyard

.PHONY: scale
scale: ## Hold docs/scaling.md against three nats-servers and three daemons, and measure it (root, six minutes)
	@.ci/deps nats-server nftables iproute2
	STEELYARD_SCALE=1 $(GO) test -count=1 -v -timeout 20m -run 'TestPaper|TestScale' ./bus/scale
	STEELYARD_SCALE=1 $(GO) test -count=1 -v -timeout 20m -run TestGroupOnPaper -bench ClusterNode -benchtime 1x ./cmd/steelyard

lint: ## gofmt, go vet, staticcheck, and asyncapi (all pinned in .ci/tools)
	.ci/lint

.PHONY: asyncapi
asyncapi: ## Hold docs/asyncapi.yaml against the specification, with the parser of its makers (npm)
	.ci/asyncapi

check: ## Run exactly what CI runs: lint, check-policies, test, gates, examples, and beside them kernel-lab-short
	@.ci/check

deps: ## Install the Debian packages that the tests use, where they are missing
	@.ci/deps nftables iproute2 iputils-ping procps util-linux snmpd snmp conntrack nats-server clang lld rustc libstd-rust-dev-wasm32 lua5.1 \
		openssl nginx libnginx-mod-mail redis-server bind9 unbound haproxy curl prometheus prometheus-alertmanager prometheus-node-exporter zabbix-agent nagios4-core \
		monitoring-plugins-basic monitoring-plugins-standard keepalived bird2 conntrackd
	@command -v npm >/dev/null || .ci/deps nodejs npm

.PHONY: deps-demo
deps-demo:
	@.ci/deps nftables iproute2

policies: ## Rebuild the shipped policies' WASM
	.ci/policies plugins/builtin/builtin.wasm

check-policies: ## Prove that the shipped policies' WASM matches its source
	.ci/policies --check plugins/builtin/builtin.wasm

layout: ## Write the layout of the ABI into the SDKs and docs/abi.md
	$(GO) run ./plugins/abi/layout/gen

examples: build ## Build the example policies and check the example configurations
	.ci/examples

.PHONY: layout gates
gates: ## Hold the shipped policies to their figures in simulation (a minute)
	.ci/gates

fuzz: ## Fuzz every decoder for FUZZTIME (default 20s) each
	.ci/fuzz $(or $(FUZZTIME),20s)

clean: ## Remove what make made
	rm -rf bin
