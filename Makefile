# Lucida. `make run` shows it working, `make test` runs every test; both install what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
OUT ?= out

# Libraries to build with, what makes the manual page, and what the tests read pictures with.
PACKAGES := libv4l-dev libavcodec-dev libavformat-dev libswscale-dev libopenblas-dev \
            libtomlplusplus-dev pkg-config python3
TEST_PACKAGES := ffmpeg

BUILD := swift build -c release --static-swift-stdlib --product lucida
BINARY := .build/release/lucida
# Manual page and shell completions, made from the definitions of the commands.
SHARE := .build/share
GENERATED := $(SHARE)/lucida.1 $(SHARE)/lucida.bash $(SHARE)/_lucida $(SHARE)/lucida.fish
SOURCES := $(shell find Sources -type f 2>/dev/null) Package.swift
FORMAT_PATHS := Package.swift Sources Tests

##@ Main

help: ## Show this help
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: release ## Build and show it: camera to virtual camera, or a 10 s demonstration into out/
	@$(BINARY) demo --output "$(OUT)"

test: test-packages release ## Run all tests (unit, ring under ThreadSanitizer, command line, virtual machine)
	@scripts/test.sh

build: packages ## Build everything for debugging
	swift build --build-tests

release: packages $(BINARY) $(GENERATED) ## Build the release binary, which needs no Swift toolchain to run

$(BINARY): $(SOURCES)
	$(BUILD)
	@touch -c $@

$(SHARE)/lucida.1: $(BINARY) scripts/man-page.py
	@mkdir -p $(SHARE)
	$(BINARY) --experimental-dump-help | scripts/man-page.py "$$($(BINARY) --version)" > $@.new
	@mv $@.new $@

$(SHARE)/lucida.bash $(SHARE)/_lucida $(SHARE)/lucida.fish: $(BINARY)
	@mkdir -p $(SHARE)
	$(BINARY) --generate-completion-script $(if $(findstring _lucida,$@),zsh,$(subst .,,$(suffix $@))) > $@.new
	@mv $@.new $@

##@ Install

install: ## Install binary, models, configuration, service, manual page and completions (DESTDIR, PREFIX)
	@for file in $(BINARY) $(GENERATED); do \
	  test -e "$$file" || { echo "run 'make release' first: $$file is missing" >&2; exit 1; }; done
	install -D -m 755 $(BINARY) "$(DESTDIR)$(PREFIX)/bin/lucida"
	install -d "$(DESTDIR)$(PREFIX)/share/lucida/models"
	install -m 644 Models/*.safetensors "$(DESTDIR)$(PREFIX)/share/lucida/models/"
	install -d "$(DESTDIR)$(SYSCONFDIR)/lucida"
	@# A configuration that somebody has edited stays.
	test -e "$(DESTDIR)$(SYSCONFDIR)/lucida/lucida.toml" || \
	  install -m 644 Config/lucida.toml "$(DESTDIR)$(SYSCONFDIR)/lucida/lucida.toml"
	install -D -m 644 Config/modprobe.d/lucida.conf "$(DESTDIR)$(SYSCONFDIR)/modprobe.d/lucida.conf"
	install -D -m 644 Config/modules-load.d/lucida.conf \
	  "$(DESTDIR)$(SYSCONFDIR)/modules-load.d/lucida.conf"
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	for unit in lucida lucida-device; do sed 's|@PREFIX@|$(PREFIX)|' systemd/$$unit.service \
	  > "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service"; done
	install -D -m 644 $(SHARE)/lucida.1 "$(DESTDIR)$(PREFIX)/share/man/man1/lucida.1"
	install -D -m 644 $(SHARE)/lucida.bash \
	  "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lucida"
	install -D -m 644 $(SHARE)/_lucida "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lucida"
	install -D -m 644 $(SHARE)/lucida.fish \
	  "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lucida.fish"
	@echo "Installed. Next: sudo modprobe v4l2loopback && sudo systemctl enable --now lucida"
	@echo "If anything is missing, this says what: lucida doctor"

uninstall: ## Remove what install put there; the configuration stays
	@if test -z "$(DESTDIR)" && command -v systemctl >/dev/null; then \
	  systemctl disable --now lucida lucida-device 2>/dev/null || true; \
	  for folder in /var/lib /var/cache; do rm -rf $$folder/private/lucida $$folder/lucida; done; fi
	rm -f "$(DESTDIR)$(PREFIX)/bin/lucida" "$(DESTDIR)$(PREFIX)/lib/systemd/system/lucida.service" \
	  "$(DESTDIR)$(PREFIX)/lib/systemd/system/lucida-device.service"
	rm -rf "$(DESTDIR)$(PREFIX)/share/lucida"
	rm -f "$(DESTDIR)$(PREFIX)/share/man/man1/lucida.1" \
	  "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lucida" \
	  "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lucida" \
	  "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lucida.fish"
	rm -f "$(DESTDIR)$(SYSCONFDIR)/modprobe.d/lucida.conf" \
	  "$(DESTDIR)$(SYSCONFDIR)/modules-load.d/lucida.conf"
	@echo "Removed. Your configuration is still in $(DESTDIR)$(SYSCONFDIR)/lucida"

##@ Develop

format: ## Format the Swift code
	swift format --in-place --recursive --parallel $(FORMAT_PATHS)

lint: ## Check format and style
	swift format lint --strict --recursive --parallel $(FORMAT_PATHS)

bench: release ## Measure engine and pipeline
	$(BINARY) bench engine
	$(BINARY) bench pipeline

test-ring: packages ## The frame ring under ThreadSanitizer, and once deliberately weakened
	@scripts/test-ring.sh

soak: release ## Every fault 20 times on each driver, and 100,000 frames with random ones
	LUCIDA_SOAK=100000 swift test --filter SoakTests
	LUCIDA_SOAK_ROUNDS=20 python3 Tests/VM/run_tests.py test_soak test_service.Service_0_13_2

fuzz: packages ## Mutate models, configurations, videos and JPEGs twenty times as long as the tests do
	LUCIDA_FUZZ_ROUNDS=20 swift test --filter '[Ff]uzz|mutations|stalledThreads'

vm-test: release ## Real kernel devices under QEMU: camera, virtual camera, Chromium, systemd
	@scripts/vm-test.sh

clean: ## Remove everything built
	rm -rf .build .build-tsan .build-tsan-weak "$(OUT)"

##@ Packages

packages: ## Install the libraries that the build needs, if any is missing
	@command -v swift >/dev/null || { \
	  echo "Lucida needs a Swift toolchain, 6.2 or later: https://www.swift.org/install/linux" >&2; exit 1; }
	@scripts/install-packages.sh $(PACKAGES)

test-packages: ## Install what the tests need beyond that
	@scripts/install-packages.sh $(PACKAGES) $(TEST_PACKAGES)

.PHONY: help run test build release install uninstall format lint bench test-ring fuzz soak vm-test clean \
        packages test-packages
