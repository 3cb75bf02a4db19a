# make demo: the main job on real text, from a bare Python 3.11. make test: the tests, likewise.

VENV := .venv
BIN := $(VENV)/bin
# The first of these that is Python 3.11 or newer
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?= -q -n 2 --dist loadfile

.PHONY: demo test slow lint types docs bench study study-quick install wordnet clean

demo: $(VENV)/.limbeck wordnet
	$(BIN)/limbeck demo

test: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

slow: install
	$(BIN)/python -m pytest -q -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

docs: install
	$(BIN)/python docs/generate.py

# What is timed, for an idle machine: about an hour on two cores. Needs the text of LIMBECK_DATA.
bench: install
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/rivals.py
	$(BIN)/python benchmarks/gloss.py
	$(BIN)/python benchmarks/wsd_page.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/store_page.py

# The paper's claims, tested: hours, resumed by the same command. study-quick: a slice of every question, which
# shows that all of it runs. Needs the data of LIMBECK_DATA.
study: install wordnet
	PYTHONPATH=benchmarks $(BIN)/python -m study

study-quick: install wordnet
	PYTHONPATH=benchmarks $(BIN)/python -m study --quick

install: $(INSTALLED)

# Limbeck alone, which is all the demo needs; and with what tests and benchmarks need.
$(VENV)/.limbeck: pyproject.toml constraints.txt | $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,bench]'
	touch $@ $(VENV)/.limbeck

$(VENV):
ifeq ($(PYTHON),)
	$(error Limbeck needs Python 3.11 or newer; install it, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11)
endif
	$(PYTHON) -m venv $(VENV)

# Debian's package of WordNet 3.0, where there is none yet and it may be installed; the program tells the other ways.
wordnet: $(VENV)/.limbeck
	@$(BIN)/limbeck env | grep -q 'wordnet  *not found' || exit 0; \
	if ! command -v apt-get >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo='sudo -n'; else exit 0; fi; \
	echo 'installing wordnet-base'; \
	apt="$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y"; \
	{ $$apt install wordnet-base || { $$apt update && $$apt install wordnet-base; }; } >/dev/null 2>&1 \
		|| echo 'wordnet-base could not be installed' >&2

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
