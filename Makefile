# Without a target, make prints the targets. The scripts in scripts/ do the work.

GO_TOOL  := go tool -modfile=tools/go.mod
GO_FILES  = git ls-files -co --exclude-standard '*.go'
# Packages of make test and make bench.
PKG      ?= ./...
# More flags of go test, such as -parallel=4: tests of containers wait more than they compute. make check vets.
TESTFLAGS ?=
GO_TEST   = go test -count=1 -vet=off -timeout 20m $(TESTFLAGS)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build run stop clean image generate fmt check test bench \
        check-format check-vet check-lint check-vulnerabilities check-modules check-generated check-race

help: ## print this
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/berth
	@scripts/build

run: ## build and start Berth with a first session (DETACH=1: in the background)
	@scripts/run

stop: ## stop Berth; its sessions keep running
	@scripts/stop

clean: ## remove everything that these commands created, including sessions
	@scripts/clean

image: ## build the session image berth/opencode
	@socket=$$(scripts/engine ensure) && scripts/session-image "$$socket"

test: ## every test, with every service that it needs (PKG=./internal/… for some)
	@scripts/with-services $(GO_TEST) $(PKG)

# The equivalents of the test programs of the legacy service (docs/contract.md).
AREA_docker      = ./internal/runtimetest ./internal/docker ./internal/process
AREA_hostip      = ./internal/hostip ./test/hostip
AREA_integration = ./test/e2e
AREA_logging     = ./internal/telemetry ./internal/app
AREA_database    = ./internal/storage/... ./test/database
AREA_health      = ./internal/health ./internal/probe ./internal/session ./test/e2e ./test/outage
AREA_auth        = ./internal/access ./internal/httpapi ./internal/proxy
AREA_pool        = ./internal/proxy ./internal/server
AREA_resources   = ./internal/pressure ./internal/docker ./internal/httpapi ./test/e2e

test-%: ## the tests of one area: docker hostip integration logging database health auth pool resources
	@scripts/with-services $(GO_TEST) $(or $(AREA_$*),$(error there is no area $*; make help lists them))

bench: ## benchmarks, with every service that they need
	@scripts/with-services go test -run '^$$' -bench . -timeout 60m ./bench/...

fmt: ## format the code
	@$(GO_FILES) | xargs -r $(GO_TOOL) gofumpt -w

generate: ## update the generated files
	@go generate ./...

check: check-format check-vet check-lint check-vulnerabilities check-modules check-generated check-race ## all checks that need no services
	@echo "==> check: passed"

check-format:
	@echo "==> gofumpt"
	@bad=$$($(GO_FILES) | xargs -r $(GO_TOOL) gofumpt -l) || exit 1; \
	if [ -n "$$bad" ]; then echo "$$bad"; echo "not formatted: run make fmt" >&2; exit 1; fi

check-vet:
	@echo "==> go vet"
	@go vet ./...

check-lint:
	@echo "==> golangci-lint (building it takes a minute the first time)"
	@$(GO_TOOL) golangci-lint run ./...

check-vulnerabilities:
	@echo "==> govulncheck"
	@scripts/vulnerabilities

check-modules:
	@echo "==> go mod tidy"
	@go mod tidy -diff

check-generated:
	@echo "==> generated files"
	@scripts/generated

check-race:
	@echo "==> go test -race"
	@scripts/ensure cc
	@go test -race -shuffle=on ./...
