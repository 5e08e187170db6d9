# The verbs of the house. `make help` lists them.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$$/\1/p' charts/raftsman/Chart.yaml)
IMG     ?= raftsman.dev/raftsman:$(VERSION)
BIN     := $(CURDIR)/bin
DIST    := $(CURDIR)/dist
TOOL    := go tool -modfile=hack/tools/go.mod
CORE    := ./node/...
MODULES := . hack/devcluster hack/e2e hack/bench hack/diff
FUZZTIME ?= 10s
# The development cluster that quickstart makes: another name keeps two of them apart.
CLUSTER ?= raftsman

# Without cgo, and with paths as they are, everything is compiled once for checks, tests and programs alike; the
# race detector needs cgo, and the image that the Dockerfile builds is made with -trimpath.
export CGO_ENABLED := 0

.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

##@ build

.PHONY: build
build: ## build the binary into bin/
	@mkdir -p $(BIN)
	go build -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/raftsman ./cmd/raftsman

.PHONY: image
image: build $(BIN)/devcluster ## make the image IMG from the Dockerfile, without a container engine, as dist/image.tar
	@mkdir -p $(DIST)
	$(BIN)/devcluster image --dockerfile Dockerfile --binary $(BIN)/raftsman --tag $(IMG) --out $(DIST)/image.tar

.PHONY: $(BIN)/devcluster
$(BIN)/devcluster:
	@mkdir -p $(BIN)
	go build -C hack/devcluster -o $@ .

.PHONY: chart
chart: ## lint the Helm chart and pack it into dist/
	hack/chart.sh $(DIST)

.PHONY: install-manifest
install-manifest: ## render the one-file install with the image IMG into dist/install.yaml
	hack/manifest.sh $(IMG) $(DIST)/install.yaml

.PHONY: generate
generate: ## regenerate deepcopy code, CRDs and roles, and the chart's copies
	hack/generate.sh

##@ try

.PHONY: quickstart
quickstart: ## a Kubernetes on this machine, the operator, and a first write; or KUBECONFIG=... IMG=... for another cluster
	@CLUSTER=$(CLUSTER) IMG=$(IMG) IMG_GIVEN="$(if $(filter file,$(origin IMG)),,yes)" hack/quickstart.sh

.PHONY: quickstart-down
quickstart-down: ## remove all that quickstart has made
	@CLUSTER=$(CLUSTER) IMG=$(IMG) hack/quickstart-down.sh

##@ check

.PHONY: verify
verify: ## format, vet, lint, generated files current, import table, tidy
	hack/verify.sh

.PHONY: test
test: unit race clients torture real e2e ## unit tests, the core under the race detector, real clients, then real processes and end to end (which need root on Linux)

.PHONY: unit
unit: programs ## unit tests of every module, planner loops and the operator on a real API server included
	@for m in $(MODULES); do [ -f $$m/go.mod ] || continue; echo "== unit tests: $$m"; (cd $$m && go test ./...); done
	go test -count=1 ./node/sim # fresh seeds, also where nothing has changed since the last run

.PHONY: programs
programs: $(BIN)/devcluster ## build the programs that tests run beside ours: etcd, Kubernetes' control plane, kubectl, Helm
	@for p in etcd etcdctl kube-apiserver kube-controller-manager kubectl helm; do $(BIN)/devcluster tool $$p > /dev/null; done

.PHONY: race
race: ## core packages under the race detector
	CGO_ENABLED=1 go test -race $(CORE)

.PHONY: sim
sim: ## whole groups in seeded worlds: SEED=n for one with its story, HOURS=1 or FOR=10m for a soak; else two minutes
	go test ./node/sim -count=1 -run TestSim -v -timeout 0 $(if $(SEED),-sim.seed $(SEED),$(if $(HOURS),-sim.hours $(HOURS),-sim.for $(or $(FOR),2m)))

.PHONY: torture
torture: build ## real processes killed, their files damaged, their disks hung and full; root on Linux; the short form: ALL=yes CYCLES=200 for the full one, RUN=log for some, SEED=n
	cd hack/e2e && RAFTSMAN_TORTURE=$(BIN)/raftsman go test ./torture -count=1 -v -timeout 60m -run 'TestTorture/$(RUN)' -torture.cycles $(or $(CYCLES),10) $(if $(ALL)$(RUN),-torture.all) $(if $(SEED),-torture.seed $(SEED))

.PHONY: clients
clients: build ## etcdctl, the Go client and one for Node at work on etcd and Raftsman side by side; RUN=Script for a part, PERF=yes for two minutes of load as well
	cd hack/e2e && RAFTSMAN_CLIENTS=$(BIN)/raftsman go test ./clients -count=1 -v -timeout 15m -run 'Test$(RUN)' $(if $(PERF),-clients.perf)

.PHONY: real
real: ## the Kubernetes on this machine itself, and the quickstart, from nothing to nothing; root on Linux; five minutes
	cd hack/devcluster && DEVCLUSTER_REAL=1 go test -count=1 -v -timeout 40m -run TestReal .
	cd hack/e2e && RAFTSMAN_E2E=1 go test -count=1 -v -timeout 20m -run TestQuickstart .

.PHONY: e2e
e2e: ## end-to-end tests on a Kubernetes on this machine; root on Linux; the brief ones, under ten minutes: ALL=yes for all, an hour; RUN=name for some, SHARD=1/3 for a part, RESUME=yes for those that have not passed yet; STORE=raftsman for an API server on Raftsman, KILL=30s to kill its leader
	cd hack/e2e && RAFTSMAN_E2E=1 RAFTSMAN_E2E_ALL=$(ALL) RAFTSMAN_E2E_SHARD=$(SHARD) RAFTSMAN_E2E_RESUME=$(RESUME) RAFTSMAN_E2E_STORE=$(STORE) RAFTSMAN_E2E_KILL=$(KILL) go test -count=1 -v -timeout 150m -run 'TestEndToEnd$(if $(RUN),/(install:|$(RUN)))' .

.PHONY: kubestore
kubestore: ## a Kubernetes API server on Raftsman, its leader killed every 30 s, for FOR=20m or OBJECTS=10000 once; root on Linux
	cd hack/e2e && RAFTSMAN_KUBESTORE=1 go test ./kubestore -count=1 -v -timeout 0 -run TestKubeStore -kubestore.for $(or $(FOR),$(if $(OBJECTS),0s,20m)) $(if $(OBJECTS),-kubestore.objects $(OBJECTS))

.PHONY: hundred
hundred: ## CLUSTERS=100 RaftClusters with simulated members on one operator process: births, edits, then IDLE=10m without a write; its reconcile times, memory and processor time
	go test ./controllers/life -count=1 -v -timeout 0 -run 'TestHundred$$' -hundred.p99 1s -hundred.clusters $(or $(CLUSTERS),100) -hundred.idle $(or $(IDLE),10m)

.PHONY: worlds
worlds: ## a million random worlds for the operator's planner (minutes): N=10000 for fewer, SEED=n for those from one seed on
	go test ./controllers/plan -count=1 -run TestRandomWorlds -v -timeout 60m -plan.worlds $(or $(N),1000000) $(if $(SEED),-plan.seed $(SEED))

.PHONY: mutants
mutants: ## plant known bugs one by one and demand that the checks catch them (half an hour)
	go run ./hack/mutants $(MUTANTS_FLAGS)

.PHONY: mutation
mutation: ## change the core's source in a thousand small ways and demand that its unit tests notice 80 % (half an hour; MUTATION_FLAGS='-n 100')
	go run ./hack/mutation $(MUTATION_FLAGS)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 10s) each
	hack/fuzz.sh $(FUZZTIME)

.PHONY: diff
diff: build ## run the same requests on etcd and on three members and compare all answers: SEED=n OPS=n, see hack/diff/doc.go
	cd hack/bench && go build -o $(BIN)/bench-etcd ./etcd
	cd hack/diff && go build -o $(BIN)/diff .
	$(BIN)/diff --raftsman $(BIN)/raftsman --etcd $(BIN)/bench-etcd --out hack/diff/testdata $(if $(SEED),--seed $(SEED)) $(if $(OPS),--ops $(OPS)) $(DIFF_FLAGS)

.PHONY: diff-scripts
diff-scripts: build ## run the scripts that showed a difference from etcd once: a part of `make unit`
	cd hack/diff && RAFTSMAN_DIFF=$(BIN)/raftsman go test . -count=1 -v -run TestScripts

.PHONY: bench
bench: build ## measure beside etcd (half an hour); SMOKE=1 for a minute, BENCH_FLAGS='--rows put' for some, see hack/bench/doc.go
	cd hack/bench && go build -o $(BIN)/bench . && go build -o $(BIN)/bench-etcd ./etcd
	$(BIN)/bench --raftsman $(BIN)/raftsman --etcd $(BIN)/bench-etcd $(if $(SMOKE),--quick) $(BENCH_FLAGS)

.PHONY: bench-leases
bench-leases: build ## measure what 100,000 leases that expire within a second do to puts, beside etcd
	cd hack/bench && go build -o $(BIN)/bench . && go build -o $(BIN)/bench-etcd ./etcd
	$(BIN)/bench leases --raftsman $(BIN)/raftsman --etcd $(BIN)/bench-etcd $(LEASES_FLAGS)

.PHONY: join
join: build ## measure how a member joins a filled store under load; JOIN_FLAGS='--gigabytes 0.3' for a small one
	cd hack/bench && go build -o $(BIN)/bench .
	$(BIN)/bench join --raftsman $(BIN)/raftsman $(JOIN_FLAGS)

.PHONY: clean
clean: ## remove what was built here
	rm -rf $(BIN) $(DIST)
