# Belfry's verbs; `make` alone tells them. What a verb needs it makes first, and only when it changed.

.DEFAULT_GOAL := help
.PHONY: help run services test lint format bench soak lock docs clean
.SUFFIXES:

PYTHON_IN := .venv/bin/python
ARGS ?=

help: ## these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: .venv/.installed-run ## install what is missing and start `belfry up`; ARGS="--port 9000" passes flags on
	@exec $(PYTHON_IN) -m belfry up $(ARGS)

services: .venv/.installed-run ## MySQL, MariaDB and Kafka for development, until Ctrl-C; ARGS="--only mysql --data DIR"
	@exec $(PYTHON_IN) -m compose.services run $(ARGS)

test: .venv/.installed-test ## lint, types and every test; ARGS="-k wire" chooses some of pytest's
	@tools/test $(ARGS)

lint: .venv/.installed-test ## ruff, its format and mypy, changing nothing
	@$(PYTHON_IN) -m ruff check .
	@$(PYTHON_IN) -m ruff format --check .
	@$(PYTHON_IN) -m mypy

format: .venv/.installed-test ## let ruff put the code into its format
	@$(PYTHON_IN) -m ruff check --fix --quiet . || true
	@$(PYTHON_IN) -m ruff format .

bench: .venv/.installed-bench ## the figures, ours and the peers', into bench/results/; ARGS goes to `python -m bench`
	@tools/need cc
	@exec $(PYTHON_IN) -m bench $(ARGS)

soak: .venv/.installed-run ## a server under load with an audit of everything its clients saw; ARGS="--seconds 3600"
	@exec $(PYTHON_IN) tools/soak.py $(ARGS)

docs: .venv/.installed-run ## write the reference pages that come from the code
	@$(PYTHON_IN) -m belfry.reference
	@$(PYTHON_IN) -m chat.api.reference > docs/reference/http.md
	@$(PYTHON_IN) -m docs.generate

lock: ## resolve the dependencies anew into requirements/*.txt; ARGS="--upgrade" takes newer versions
	@tools/lock $(ARGS)

clean: ## remove what the verbs made; data of servers (belfry-data) stays
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment for all verbs: the locks pin the same versions, each adds to it.
.venv/.installed-%: requirements/%.txt pyproject.toml tools/install
	@tools/install $*
