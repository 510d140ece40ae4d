# Every target sets itself up first; `make` alone says what there is.
PY := .venv/bin/python

.PHONY: help setup demo test soak check bench docs wheel audit sbom screenshots lock
help:
	@echo "make demo    a shop, two new services, the gateway and the console, with traffic; Ctrl-C stops everything"
	@echo "make test    every test"
	@echo "make soak    the fault, payment, reload and shipping tests at length: 300 requests/s, 20 SIGTERMs, 200,000 exchanges"
	@echo "make check   lint and types"
	@echo "make bench   speed and memory beside nginx, HAProxy, Envoy and mitmproxy, in one run"
	@echo "make docs    the documentation's site, strictly, into build/site"
	@echo "make wheel   the package, into dist/; with its checksum, and what it is made of (make sbom)"
	@echo "make audit   is anything that is locked known to be vulnerable? asks an advisory service"
	@echo "make screenshots    the console's pictures and mitmweb's in docs/images, from demos of their own"
	@echo "make lock    resolve the dependencies anew"

setup:
	@scripts/setup

demo: setup
	@.venv/bin/banyan demo

# Three processes for two cores: some of what the tests take is waiting, for a second to pass or a process to end. tests/conftest.py has the
# order, by which one that waits is beside others that compute.
test: setup
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# One after the other: they load the machine by themselves.
soak: setup
	BANYAN_SOAK=1 BANYAN_RELOADS=100 $(PY) -m pytest tests/integration/test_faults.py tests/integration/test_faults_upstreams.py tests/integration/test_payments_faults.py tests/integration/test_reload.py tests/integration/test_shipping_soak.py

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: setup
	$(PY) -m bench

docs: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

# From nothing that an earlier one left behind: setuptools would put it in.
wheel: setup sbom
	rm -rf build/lib build/bdist.*
	.venv/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	cp build/banyan.cdx.json dist/
	cd dist && sha256sum *.whl *.json > SHA256SUMS && cat SHA256SUMS

sbom: setup
	@scripts/sbom

# Not a part of `make test`: whether it can be asked depends on the machine's way out, and its answer on the day.
audit: setup
	@scripts/audit

screenshots: setup
	$(PY) docs/images/take_console.py
	$(PY) docs/images/take_inspect.py

lock: setup
	@scripts/lock
