# Each target does what it needs first. Only `install` uses the network; `make` alone lists the targets.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# What ships in the repository is enough: no model hub, no usage statistics.
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export GRADIO_ANALYTICS_ENABLED := False
# Handed to the shell through the environment, so that a file name with spaces or quotes stays one word.
export PHOTO

.PHONY: help install demo write test bench lint clean photo-named

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1\t\2/p' Makefile | expand -t 18

install: $(INSTALLED)  ## .venv with the package and all it needs

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "tweetcap needs Python 3.11 or newer; name one: make install PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[corpus,evaluation,training,dev]'
	@touch $@

demo: $(INSTALLED)  ## the page on the embedded checkpoint, at http://127.0.0.1:7860
	$(BIN)/python app.py

write: photo-named $(INSTALLED)  ## tweets for one photo: make write PHOTO=cat.jpg
	@$(BIN)/tweetcap write -- "$$PHOTO"

photo-named:
	@test -n "$$PHOTO" || { echo "Name a photo: make write PHOTO=cat.jpg" >&2; exit 2; }
	@test -e "$$PHOTO" || { echo "There is no file $$PHOTO; name a photo: make write PHOTO=cat.jpg" >&2; exit 2; }

test: $(INSTALLED)  ## all tests, none of which uses the network
	$(BIN)/python -m pytest

bench: $(INSTALLED)  ## how fast it is, beside others and beside what the machine allows: docs/speed.md
	$(BIN)/python -m benchmarks

lint: $(INSTALLED)  ## format and style of the code, nothing changed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

clean:  ## remove caches and build output; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
