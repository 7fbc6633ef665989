# jail's tasks. `make` alone lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX   ?= /usr/local
DESTDIR  ?=
# How long `make fuzz` runs each fuzz target.
FUZZTIME ?= 60s
# Arguments for the test run, such as GOTEST='-run TestMount -v'.
GOTEST   ?=
PACKAGES ?= ./...
# Arguments for the benchmark, such as BENCH="-rounds 50 -only jail".
BENCH    ?=
# Arguments for the test run in the virtual machine, such as GUEST="-pkg test/guest -run TestForkBomb".
GUEST    ?=
# The folder with the copy of the tree that the ordinary user tests.
STAGE    ?= /var/tmp/jail-test
export STAGE

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_BUILD := go build -trimpath -buildvcs=false
GO_FILES := $(shell find cmd policy sandbox netsetup profiles -type f ! -name '*_test.go' ! -path '*/testdata/*' ! -path '*/embedded/*')
# The static program around libseccomp that sandbox/seccomp embeds, and what it is made from.
SECCOMP  := sandbox/seccomp/embedded/jail-seccomp
SECCOMP_FILES := $(filter sandbox/seccomp/%,$(GO_FILES))
# The network gateway that netsetup/program embeds.
GATEWAY  := netsetup/program/embedded/jail-net-gateway
GATEWAY_FILES := $(filter netsetup/%,$(GO_FILES))
# The probe that sandbox/audit embeds.
PROBE := sandbox/audit/embedded/jail-probe
PROBE_FILES := $(filter sandbox/audit/jail-probe/% sandbox/audit/check/%,$(GO_FILES)) $(wildcard sandbox/audit/jail-probe/*.s)
GOLANGCI := v2.15.0

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## install what is missing (Debian), or name it (elsewhere)
	@test/deps

build: bin/jail ## build bin/jail

run: ## show a real browser rendered inside a sandbox (sets up all it needs)
	@test/deps build run
	@$(MAKE) --no-print-directory build bin/as-user
	@bin/as-user -stage $(STAGE)/run -- test/show-browser

test: ## run all Go tests, as an ordinary user (as root: also those that need root; CI=true: with every program)
	@test/deps build test $(if $(filter true,$(CI)),profiles)
	@$(MAKE) --no-print-directory build bin/as-user
	@test/all $(GOTEST) $(PACKAGES)

# Tests that drive bin/jail from outside run no code of jail's under the detector: they are left to `make test`.
RACE_PACKAGES ?= ./cmd/... ./policy/... ./sandbox/... ./netsetup/... ./test/net/...

docs: $(SECCOMP) $(GATEWAY) $(PROBE) ## make the pages of the shipped profiles anew (docs/profiles), and what is parsed of them
	go generate ./policy

test-race: ## run the tests under the race detector
	@test/deps build test
	@$(MAKE) --no-print-directory build bin/as-user
	@test/all -race $(GOTEST) $(RACE_PACKAGES)

lint: bin/golangci-lint-$(GOLANGCI) $(SECCOMP) $(GATEWAY) $(PROBE) ## golangci-lint with the import rules, gofmt, go vet
	@test/lint $<

fuzz: $(SECCOMP) $(GATEWAY) $(PROBE) ## run every fuzz target for FUZZTIME (60s)
	@test/fuzz $(FUZZTIME)

bench: ## start-up time beside bubblewrap, firejail, runc, crun, a minimal C program; the network beside slirp4netns, pasta
	@test/deps build bench
	@$(MAKE) --no-print-directory build bin/as-user
	@test/bench/run $(BENCH)
	@test/bench/network

test-net: ## the loads of the network in full: 100 sandboxes at once, 200 kills, 1,000 connections, gigabytes
	@test/deps build test
	@$(MAKE) --no-print-directory build bin/as-user
	@JAIL_TEST_FULL=1 test/all -v -timeout 20m ./test/net $(GOTEST)

test-faults: ## make every system call of a start fail in turn, with four errnos: about three quarters of an hour
	@test/deps build test
	@$(MAKE) --no-print-directory build bin/as-user
	@JAIL_TEST_FULL=1 test/all -v -timeout 3h ./test/faults $(GOTEST)

test-vm: ## run the integration and guest tests in a Debian bookworm virtual machine
	@test/deps build vm
	@$(MAKE) --no-print-directory build
	@test/vm/run test $(GUEST) bookworm

test-vm-all: ## the same in bookworm, trixie and bullseye
	@test/deps build vm
	@$(MAKE) --no-print-directory build
	@test/vm/run test $(GUEST) bookworm trixie bullseye

vm-shell: ## boot the bookworm guest and open a shell in it as the ordinary user
	@test/deps build vm
	@$(MAKE) --no-print-directory build
	@test/vm/run shell bookworm

man: bin/jail ## write the manual pages to bin/man
	docs/man bin/man

install: build man ## install the program, manual pages and completions to $(DESTDIR)$(PREFIX)
	install -D -m 0755 bin/jail $(DESTDIR)$(PREFIX)/bin/jail
	install -D -m 0644 bin/man/jail.1 $(DESTDIR)$(PREFIX)/share/man/man1/jail.1
	install -D -m 0644 bin/man/jail-profile.5 $(DESTDIR)$(PREFIX)/share/man/man5/jail-profile.5
	install -D -m 0644 cmd/jail/completion/jail.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/jail
	install -D -m 0644 cmd/jail/completion/jail.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_jail
	install -D -m 0644 cmd/jail/completion/jail.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/jail.fish

deb: ## build a Debian package, with an AppArmor profile for systems that restrict user namespaces
	rm -rf bin/deb
	$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/bin/deb/tree PREFIX=/usr
	cmd/jail/deb/build bin/deb/tree $(VERSION) bin/deb

clean: ## remove what was built (virtual machine images stay in .cache)
	rm -rf bin

# The version is in a file of its own, touched only when it changes, so that nothing is linked again without need.
bin/version: FORCE
	@mkdir -p bin
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' > $@

bin/jail: $(GO_FILES) $(SECCOMP) $(GATEWAY) $(PROBE) go.mod go.sum bin/version
	CGO_ENABLED=0 $(GO_BUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/jail
	@touch $@

$(SECCOMP): $(SECCOMP_FILES) go.mod go.sum
	go generate ./sandbox/seccomp
	@touch $@

$(GATEWAY): $(GATEWAY_FILES) go.mod go.sum
	go generate ./netsetup/program
	@touch $@

$(PROBE): $(PROBE_FILES) sandbox/audit/generate go.mod go.sum
	go generate ./sandbox/audit
	@touch $@

bin/as-user: $(wildcard test/user/*.go) go.mod
	CGO_ENABLED=0 $(GO_BUILD) -o $@ ./test/user

bin/golangci-lint-$(GOLANGCI):
	GOBIN=$(CURDIR)/bin/.lint go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv bin/.lint/golangci-lint $@
	rmdir bin/.lint

.PHONY: help docs deps build run test test-net test-race lint fuzz bench test-vm test-vm-all vm-shell man install deb clean FORCE
FORCE:
