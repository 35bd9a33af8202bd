# make install | demo | test | lint | format | bench | clean. Each sets up what it needs, in the checkout: the virtual
# environment .venv, or .venv-3.13 and the like where another Python is named: make test PYTHON=python3.13
PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
OUT ?= runs/demo
BANK ?=
QUICK ?=

.PHONY: install demo test lint format bench clean

install: $(VENV)/installed

$(VENV)/installed: setup.py youtube8m_mod/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, got " + sys.version)'
	@echo "Installing youtube8m_mod and what it needs into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@

demo: install
	@$(BIN)/python -m youtube8m_mod.demo --output_dir='$(OUT)' $(if $(BANK),--bank='$(BANK)')

test: install
	$(BIN)/python -m pytest tests -q -n 2 --dist loadfile

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: install
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: install
	@for script in step inference input serving ranking evaluation ensemble; do \
		$(BIN)/python -m benchmarks.$$script $(if $(QUICK),--quick) || exit 1; \
	done

clean:
	rm -rf .venv .venv-* build dist *.egg-info
