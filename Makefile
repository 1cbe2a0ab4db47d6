# The verbs of this project. `make run` and `make test` need only Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One more than the cores of a small machine: many tests wait for processes, leases and the next second.
WORKERS ?= 3
ARGS ?=
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := run
.PHONY: run test lint types imports migrate seed seed-large mails check lock migrations-check compose-check secrets bandit mutate sandbox browser pictures faults soak openapi

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp per lock: the second start installs nothing. The development set contains the other one.
$(VENV)/.run-installed: requirements/run.lock | $(BIN)/python
	@cmp -s requirements/run.lock $(VENV)/.run-installed || { \
		echo "Installing what the service needs (once) ..."; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock; }
	@cp requirements/run.lock $@

$(VENV)/.dev-installed: requirements/dev.lock requirements/run.lock | $(BIN)/python
	@cmp -s requirements/dev.lock $(VENV)/.dev-installed || { \
		echo "Installing what the tests need (once) ..."; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock; }
	@cp requirements/run.lock $(VENV)/.run-installed
	@cp requirements/dev.lock $@

run: $(VENV)/.run-installed
	@exec $(BIN)/python -m config.run

test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev-installed
	$(BIN)/mypy

imports: $(VENV)/.dev-installed
	$(BIN)/lint-imports

migrate: $(VENV)/.run-installed
	$(BIN)/python manage.py migrate

seed: $(VENV)/.run-installed
	@LOG_LEVEL=$${LOG_LEVEL:-WARNING} $(BIN)/python manage.py seed

# 100,000 subscriptions and 1,000,000 transactions into the running instance, in projects of their own; takes minutes.
# ARGS=--remove deletes them again.
seed-large: $(VENV)/.run-installed
	@LOG_LEVEL=$${LOG_LEVEL:-WARNING} $(BIN)/python manage.py seed_large $(ARGS)

mails: $(VENV)/.dev-installed
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py compile_mails

migrations-check: $(VENV)/.dev-installed
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

compose-check: $(VENV)/.dev-installed
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

secrets: $(VENV)/.dev-installed
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

bandit: $(VENV)/.dev-installed
	$(BIN)/bandit -q -ll -c pyproject.toml -r accounts backoffice common config entitlements hosted licenses moderation \
		notifications payments projects sandbox manage.py

# Removes guards one by one in a copy of the checkout; the tests named in each patch must turn red.
mutate: $(VENV)/.dev-installed
	$(BIN)/python -m tests.mutate --jobs 2 $(ARGS)

# The purchase in a real browser; needs chromium.
browser: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -m browser $(ARGS)

# Takes the pictures under docs/screenshots anew; look at them before you commit. One run for each module, so that its pages show
# its own rows only. ARGS=tests/browser/test_hosted_pages.py takes some.
pictures: $(VENV)/.dev-installed
	@for module in $(or $(ARGS),$(shell grep -l keep_screenshot tests/browser/test_*.py)); do \
		UPDATE_SCREENSHOTS=1 $(BIN)/python -m pytest -q -p no:xdist $$module || exit 1; done
	@$(BIN)/python -m pytest -q -p no:xdist tests/whole/test_pictures.py

# Cases of docs/faults.md that live beside what they are about.
FAULTS_ELSEWHERE := tests/scenarios/test_shuffles.py tests/reconcile/test_reconcile_events.py tests/reconcile/test_reconcile_objects.py \
	tests/reconcile/test_rate_budget.py tests/reconcile/test_after_restore.py tests/payments/test_webhook_processing.py \
	tests/payments/test_replay_events.py tests/payments/test_checkout_session.py tests/payments/test_checkout_return.py \
	tests/payments/test_webhook_delivery.py tests/entitlements/test_tokens_rebuild.py tests/entitlements/test_tokens_journal.py \
	tests/entitlements/test_tokens_reserve.py

# Parts of the running service are killed, stopped and frozen while webhooks arrive.
faults: $(VENV)/.dev-installed
	$(BIN)/python -m pytest tests/faults $(FAULTS_ELSEWHERE) -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# The scenarios, the faults and the documented operations with many more examples and seeds, and the admin's pages as every role;
# takes hours.
# SOAKED=tests/scenarios does a part; ARGS goes to pytest.
SOAKED ?= tests/scenarios tests/faults tests/reconcile tests/whole/test_openapi_conformance.py \
	tests/runtime/test_mirror_schema.py tests/runtime/test_migrations.py \
	tests/roles/test_pages_by_role.py tests/browser/test_crawl_by_role.py
soak: $(VENV)/.dev-installed
	SOAK=1 $(BIN)/python -m pytest $(SOAKED) -n $(WORKERS) --dist worksteal $(ARGS)

# The API's document as a file, the same as the running service answers at /openapi.yaml.
openapi: $(VENV)/.dev-installed
	@mkdir -p .cache
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py spectacular --validate --fail-on-warn --file .cache/openapi.yaml
	@echo "Wrote .cache/openapi.yaml"

# The stand-in for Stripe alone, for other programs to talk to (docs/sandbox.md). ARGS=--reset begins anew.
sandbox: $(VENV)/.run-installed
	@exec $(BIN)/python -m sandbox --port $${SANDBOX_PORT:-8420} --data $${VAR_DIR:-var}/sandbox $(ARGS)

check: lint types imports migrations-check compose-check secrets bandit test

lock: $(VENV)/.dev-installed
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url -q --no-header \
		requirements/run.in -o requirements/run.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url -q --no-header \
		-c requirements/run.lock requirements/dev.in -o requirements/dev.lock
