# make serve   a server with the example collections
# make test    everything that a change must pass: format, lint, types, tests, the wheel
# make slow    the tests that take longer
# make bench   the usual operations, measured (a minute); make bench-full: everything, five times (half an hour)
# make screenshots   pictures of the console's screens, in build/screenshots
# make flame   where the time of one of them goes: make flame CASE=list
#
# Each makes .venv first, and again only when pyproject.toml has changed.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TESTS ?=
CASE ?= get

.PHONY: serve test slow bench bench-full flame screenshots clean

serve: $(VENV)/.installed
	@$(BIN)/groundplane serve --config config.example.toml

test: $(VENV)/.installed-dev
	@sh .ci/install-debian
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile $(TESTS)
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel . > /dev/null
	@echo "All of it passed."

slow: $(VENV)/.installed-dev
	@sh .ci/install-debian slow
	$(BIN)/pytest -m slow $(TESTS)

bench: $(VENV)/.installed-dev
	$(BIN)/python tests/bench/run.py

bench-full: $(VENV)/.installed-dev
	$(BIN)/python tests/bench/run.py --full --runs 5 --check --render

flame: $(VENV)/.installed-dev
	$(BIN)/python tests/bench/flame.py $(CASE)

screenshots: $(VENV)/.installed-dev
	@sh .ci/install-debian
	PYTHONPATH=. $(BIN)/python tests/browser/screenshots.py $(SCENES)

clean:
	rm -rf $(VENV) build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	@sh .ci/make-venv $(VENV)
	@echo "Installing …"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests need …"
	@$(PIP) install --upgrade "pip>=25.1"
	@$(PIP) install --group dev
	@sh .ci/get-rclone $(VENV)
	@touch $@
