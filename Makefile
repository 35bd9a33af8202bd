# make install | demo | test | bench | clean. Each sets up what it needs: a .venv in the checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
BANK ?=
QUICK ?=

.PHONY: install demo test bench clean

install: $(VENV)/installed

$(VENV)/installed: setup.py youtube8m_mod/__init__.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, got " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@

demo: install
	$(BIN)/python -m youtube8m_mod.demo --output_dir='$(OUT)' $(if $(BANK),--bank='$(BANK)')

test: install
	$(BIN)/python -m pytest tests -q -n 2 --dist loadfile

bench: install
	for script in step inference input serving ranking evaluation; do \
		$(BIN)/python -m benchmarks.$$script $(if $(QUICK),--quick) || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info
