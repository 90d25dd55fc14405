# Bare make prints what there is. The work is done by scripts/, which say what
# they need and why.

GO_TOOL  := go tool -modfile=tools/go.mod
GO_FILES  = git ls-files -co --exclude-standard '*.go'
# Packages that make test and make bench look at.
PKG      ?= ./...

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build run stop clean image generate fmt check test bench \
        check-format check-vet check-lint check-vulnerabilities check-modules check-generated check-race

help: ## print this
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/berth
	@scripts/build

run: ## from nothing to an OpenCode session that answers (DETACH=1: in the background)
	@scripts/run

stop: ## stop Berth; its sessions go on
	@scripts/stop

clean: ## remove all that these commands made, sessions included
	@scripts/clean

image: ## build the session image berth/opencode
	@socket=$$(scripts/engine ensure) && scripts/session-image "$$socket"

test: ## every test, with every service that it needs (PKG=./internal/… for some)
	@scripts/with-services go test -count=1 -timeout 20m $(PKG)

# What stands for each of the test programs of the service before Berth (docs/contract.md).
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
	@scripts/with-services go test -count=1 -timeout 20m $(or $(AREA_$*),$(error there is no area $*; make help lists them))

bench: ## benchmarks, with every service that they need
	@scripts/with-services go test -run '^$$' -bench . -timeout 60m ./bench/...

fmt: ## format the code
	@$(GO_FILES) | xargs -r $(GO_TOOL) gofumpt -w

generate: ## renew what is generated from the code
	@go generate ./...

check: check-format check-vet check-lint check-vulnerabilities check-modules check-generated check-race ## all that can be said without services
	@echo "==> check: all is well"

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
