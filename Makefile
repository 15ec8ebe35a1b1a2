# `make help` lists the targets.
.DEFAULT_GOAL := help
PRESET ?= release
TARGET ?= all
GOGRID := build/release/gogrid
DEMO := models/SmolLM2-135M-Instruct.Q4_1.gguf
export GOGRID_TEST_MODEL := $(CURDIR)/$(DEMO)

.PHONY: .venv help setup build test checklist sanitize serve bench fuzz lint format docs
help: ## list these targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is needed (root or sudo; says what it changes)
	@scripts/setup.sh

build: setup ## build everything (PRESET=release|debug|asan|tsan)
	@cmake --preset $(PRESET) > build-$(PRESET).log 2>&1 || { cat build-$(PRESET).log; exit 1; }
	@rm -f build-$(PRESET).log
	@cmake --build --preset $(PRESET) --target $(TARGET)

.venv: setup
	@scripts/python_env.sh

$(DEMO): setup
	@scripts/fetch_demo_model.sh

test: build $(DEMO) .venv ## build and run all tests, with a small real model
	@ctest --preset $(PRESET)

checklist: build $(DEMO) .venv ## the audit's ten checks, the tests behind each, and their result
	@scripts/checklist.py build/$(PRESET)

sanitize: $(DEMO) ## all tests under address, undefined-behaviour and thread sanitizers
	@$(MAKE) test PRESET=asan
	@$(MAKE) test PRESET=tsan

serve: TARGET := gogrid
serve: build $(DEMO) ## install, build, fetch a small model and serve it on http://127.0.0.1:8080
	@$(GOGRID) models show smollm2-135m > /dev/null 2>&1 || $(GOGRID) models import $(DEMO) --name smollm2-135m
	@exec $(GOGRID) serve --model smollm2-135m

bench: build $(DEMO) ## compare with llama-server (half an hour; figures go to bench/README.md by hand)
	@scripts/setup.sh --bench
	@bench/run_all.sh $(DEMO)

FUZZ_SECONDS ?= 60
fuzz: setup ## fuzz the readers of outside bytes, FUZZ_SECONDS (60) each
	@scripts/fuzz.sh $(FUZZ_SECONDS)

lint: setup ## formatting, layers, thread-safety analysis, shell scripts (GOGRID_TIDY=1: clang-tidy too)
	@scripts/lint.sh

format: ## format all C++ in place
	@git ls-files '*.h' '*.cpp' | xargs clang-format-21 -i

docs: build ## check that the documentation's links and commands exist
	@scripts/check_docs.py $(GOGRID)
