# The six things that one does here. `make install` first, in a fresh virtual environment.
.PHONY: install test all lint docs ci

install:  ## editable, with everything that tests and lint need
	pip install -c constraints.txt -e '.[test]'

test:     ## unit and contract tests, about three minutes
	pytest

all:      ## every test; RINR_DATA=/path/to/sequences adds those on real data
	pytest --all -n 2

lint:     ## style, types and layers, of the package as it is installed
	ruff check . && ruff format --check .
	rm -rf build/lint build/lib build/bdist.* && pip install -q --no-deps --target build/lint .
	cd build/lint && mypy --config-file ../../pyproject.toml -p rinr_flower && lint-imports --no-cache ../../pyproject.toml

docs:     ## the documentation as a site in build/site, opened from the disk
	pip install -q -c constraints.txt '.[docs]'
	mkdocs build --strict

ci:       ## what the continuous integration runs, in a virtual environment of its own
	.ci/run
