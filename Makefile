# make          from a fresh clone to the 1989 net, trained: a virtual environment, what the scripts need, the digits,
#               the paper's 23 passes over them
# make test     the same environment, pytest in it, and the tests
# make results  the numbers and pictures of results/ again, in out/remade: hours, may be interrupted and repeated
# make clean    remove the tensors and the trained net, but not the environment, and not results/
#
# All it takes is Python 3.10 or newer, with venv. `make PYTHON=python3.12` names another than python3. What is done is
# not done again.

PYTHON ?= python3
VENV ?= .venv

# PyTorch without CUDA, a download of 200 MB instead of 3 GB; tried once, from this index alone, as a torch from one and
# a torchvision from another do not fit. TORCH_CPU= goes to the ordinary index at once.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --disable-pip-version-check
OUT := out/karpathy2022-mnist

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all test results clean

all: $(OUT)/model.pt
	@echo
	@echo 'Done. The last pass, as $(OUT)/metrics.csv has it:'
	@{ head -n 1 $(OUT)/metrics.csv; tail -n 2 $(OUT)/metrics.csv; } | sed 's/^/    /'
	@echo 'To train again: make clean all. To vary: $(RUN) repro.py --help'

test: $(VENV)/installed-dev
	$(RUN) -m pytest $(PYTEST)

results: $(VENV)/installed-dev $(addprefix data/,$(addsuffix /digits.json,mnist usps mnist60k))
	$(RUN) -m experiments.remake

clean:
	rm -rf $(OUT) $(addprefix data/mnist/,digits.json train1989.pt test1989.pt) .pytest_cache __pycache__ */__pycache__
	@rmdir out data/mnist 2>/dev/null || true

# model.pt is there once a run has ended, digits.json once a data set is whole. The environment comes after the `|`: a
# newer one is no reason to train again.
$(OUT)/model.pt: repro.py $(wildcard support/*.py) data/mnist/digits.json | $(VENV)/installed
	$(RUN) repro.py

data/%/digits.json: prepro.py data/mnist1989.npz | $(VENV)/installed
	$(RUN) prepro.py --dataset $*

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	    { echo '$(PYTHON) is not Python 3.10 or newer; name one that is: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo '$(PYTHON) has no venv; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo 'installing what requirements.txt asks for; PyTorch is large, and may take some minutes'
	@[ "$$(uname)" != Linux ] || [ -z '$(TORCH_CPU)' ] || PIP_CONFIG_FILE=/dev/null $(PIP) --isolated --quiet \
	    --retries 0 --timeout 5 --index-url $(TORCH_CPU) $$(grep ^torch requirements.txt) 2>/dev/null || \
	    echo '$(TORCH_CPU) does not answer: the ordinary PyTorch, with CUDA, is installed'
	$(PIP) -r requirements.txt
	@$(RUN) -c 'import importlib.metadata as m; print("PyTorch", m.version("torch"))'
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(PIP) -r requirements-dev.txt
	@touch $@
