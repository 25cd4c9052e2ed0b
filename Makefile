# The front door. Thin: scripts/ brings what is missing, CMake presets build.
PRESET ?= release
BUILD := build/$(PRESET)

.PHONY: help build run test e2e bench fuzz format tidy asan tsan conformance clean

help:
	@echo "make run          set up, build, start the server with the built-in model, ask it one question"
	@echo "make test         set up, build, run all tests"
	@echo "make e2e          Claude Code itself, pinned and newest, against the server (downloads some 750 MB from npm)"
	@echo "make build        build only (build/release/bin/)"
	@echo "make asan, tsan   what runs without the engine, under AddressSanitizer+UBSan, ThreadSanitizer"
	@echo "make fuzz         every fuzzer for FUZZ_SECONDS (30) each; make test only replays their corpus"
	@echo "make conformance  the official Python SDKs against the server, our import against MLX (needs PyPI); PARTS=transformers: and transformers"
	@echo "make tidy         clang-tidy; make format: clang-format"
	@echo "make clean        remove build outputs, keep the engine"

build:
	@scripts/install-packages build
	@scripts/engine-runtime
	@cmake --preset $(PRESET) >$(BUILD).configure.log 2>&1 || { cat $(BUILD).configure.log; exit 1; }
	@cmake --build --preset $(PRESET)

run: build
	@scripts/run-demo

test:
	@scripts/install-packages build test
	@$(MAKE) --no-print-directory build
	@scripts/test $(BUILD)

e2e:
	@scripts/install-packages build test
	@$(MAKE) --no-print-directory build
	@cd tests/claude && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error; }
	@PENSIEVE_BIN=$(CURDIR)/$(BUILD)/bin node --test tests/claude/claude.test.mjs

asan tsan:
	@scripts/install-packages build test
	@scripts/engine-runtime
	@cmake --preset $@ >build/$@.configure.log 2>&1 || { cat build/$@.configure.log; exit 1; }
	@cmake --build --preset $@ --target test_programs
	@scripts/test build/$@

fuzz:
	@scripts/install-packages build fuzz
	@scripts/engine-runtime
	@cmake --preset fuzz >build/fuzz.configure.log 2>&1 || { cat build/fuzz.configure.log; exit 1; }
	@cmake --build --preset fuzz --target fuzz_all
	@scripts/fuzz build/fuzz

bench: build
	@scripts/install-packages bench
	@bench/run

format:
	@scripts/install-packages tidy
	@git ls-files '*.cpp' '*.h' | xargs clang-format-19 -i

tidy:
	@scripts/install-packages build tidy
	@scripts/engine-runtime
	@cmake --preset tidy >build/tidy.configure.log 2>&1 || { cat build/tidy.configure.log; exit 1; }
	@scripts/tidy build/tidy

conformance: build
	@scripts/install-packages conformance
	@scripts/conformance $(BUILD)/bin $(PARTS)

clean:
	@rm -rf build/release build/dev build/asan build/tsan build/tidy build/fuzz
