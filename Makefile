# One command for each verb. CI calls the same ones.
#
#   make demo          two simulated cameras, a server and an agent; prints the address to open
#   make demo CHECK=1  the same, watched by headless Chromium; succeeds only if both cameras play
#   make test          everything that must hold: format, lints, documentation, tests, browser
#   make check         the quick part of it
#   make bench         measurements, written to bench/README.md
#   make torture       kill -9 of archive, server, agent and servers that share a store, LENGTH times each (200), and ten times
#                      as many simulated lives of the vault and the spool, which lose their power about five times each
#   make deb           Debian packages of agent and server for amd64 and arm64, into target/deb (ARCHITECTURES=amd64 for one)
#   make test-deb      boots a Debian in a container, and sees what the packages' units promise (this machine's architecture)
#   make test-arm64    installs the agent's arm64 package in a root of its own, under qemu, and sees every frame arrive
#   make torture-edge  FAULTS (200) at an agent: cameras, line, clock, kills; every picture arrives or is said to be dropped (as root)
#   make fuzz          one minute per parser (SECONDS=n for another time)

# Everything up to `bench` uses this one profile, so that nothing is compiled twice.
CARGO ?= cargo

.PHONY: demo test check bench torture deb test-deb test-arm64 fuzz format lint doc tests browser-packages setup-build setup-test setup-bench setup-package

demo:
	@CHECK=$(CHECK) scripts/demo.sh

test: setup-test format lint doc tests

check: setup-build format lint doc
	$(CARGO) test --locked -p tidy

bench: setup-bench
	scripts/bench.sh

LENGTH ?= 200
torture: setup-test
	$(CARGO) build --locked --workspace --bins
	KILLS=$(LENGTH) $(CARGO) test --locked --workspace --test kill --test durability --test two_servers
	SIM_RUNS=$(LENGTH)0 $(CARGO) test --locked --workspace --test vault --test spool

ARCHITECTURES ?= amd64 arm64
deb: setup-package
	for architecture in $(ARCHITECTURES); do packaging/deb.sh $$architecture || exit 1; done

DEB = $(shell realpath -m "$${CARGO_TARGET_DIR:-target}")/deb
test-deb: setup-package
	[ -e "$(DEB)/millrace_$(VERSION)_$$(dpkg --print-architecture).deb" ] || packaging/deb.sh "$$(dpkg --print-architecture)"
	packaging/boot.sh "$(DEB)"

# The server is this machine's own; a second run with the same package takes PACKAGE=path.
PACKAGE ?= $(DEB)/millrace-agent_$(VERSION)_arm64.deb
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
test-arm64: setup-test setup-package
	[ -e "$(PACKAGE)" ] || packaging/deb.sh arm64
	$(CARGO) build --locked --workspace --bins
	PACKAGE="$(PACKAGE)" $(CARGO) test --locked --workspace --test package -- --ignored --nocapture

# FAULTS of all kinds at an agent in a network of its own; as root.
FAULTS ?= 200
torture-edge: setup-test
	$(CARGO) build --locked --workspace --bins
	MILLRACE_ROOT=1 FAULTS=$(FAULTS) $(CARGO) test --locked --workspace --test edge -- --nocapture

fuzz: setup-build
	scripts/fuzz.sh $(SECONDS)

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p millrace-agent --no-default-features --lib --bins -- -D warnings
	$(CARGO) clippy --locked -p millrace --no-default-features --lib --bins -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

# The tests of e2e/ start the real binaries, so these are built first. The demo is what a newcomer sees first.
tests: browser-packages
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace
	@CHECK=1 scripts/demo.sh

browser-packages:
	cd e2e/browser && npm ci --silent

setup-build:
	@scripts/setup.sh build

setup-test:
	@scripts/setup.sh build test

setup-package:
	@scripts/setup.sh build package

setup-bench:
	@scripts/setup.sh build bench
