# make          from a fresh clone to the 1989 net, trained: a virtual environment, what the scripts need, the digits,
#               23 passes over them with the settings of 2022, on MNIST
# make paper    the paper's settings, on its own digits: downloads USPS
# make test     the same environment, what the tests need, and the tests; ARGS='--slow -k bits' goes to pytest
# make verify   a sample of the committed rows, run again and compared, digit by digit: a minute or two
# make results  the same with all rows: hours
# make clean    remove the tensors and the trained nets, but not the environment, and not results/
#
# All it takes is Python 3.10 or newer, with venv. `make PYTHON=python3.12` names another than python3. What is done is
# not done again.

PYTHON ?= python3
VENV ?= .venv

# PyTorch without CUDA, a download of 200 MB instead of 3 GB. TORCH_CPU= goes to the ordinary index at once.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --disable-pip-version-check

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all paper test verify results clean

all: out/karpathy2022-mnist/model.pt
paper: out/paper-usps/model.pt
all paper:
	@echo
	@echo 'Done. The last pass, as $(dir $<)metrics.csv has it:'
	@{ head -n 1 $(dir $<)metrics.csv; tail -n 2 $(dir $<)metrics.csv; } | sed 's/^/    /'
	@echo 'To train again: make clean $@. To vary: $(RUN) repro.py --help'

test: $(VENV)/installed-dev
	$(RUN) -m pytest $(ARGS)

verify: $(VENV)/installed-experiments data/mnist/digits.json data/usps/digits.json
	$(RUN) -m experiments.verify

results: $(VENV)/installed-experiments $(addprefix data/,$(addsuffix /digits.json,mnist usps mnist60k))
	$(RUN) -m experiments.verify --all

clean:
	rm -rf out/karpathy2022-mnist out/paper-usps data/mnist data/usps .pytest_cache __pycache__ */__pycache__

# model.pt is there once a run has ended, digits.json once a data set is whole. The environment comes after the `|`: a
# newer one is no reason to train again.
out/karpathy2022-mnist/model.pt: repro.py $(wildcard support/*.py) data/mnist/digits.json | $(VENV)/installed
	$(RUN) repro.py

out/paper-usps/model.pt: repro.py $(wildcard support/*.py) data/usps/digits.json | $(VENV)/installed
	$(RUN) repro.py --recipe paper --dataset usps

data/%/digits.json: prepro.py data/mnist1989.npz | $(VENV)/installed
	$(RUN) prepro.py --dataset $*

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	    { echo '$(PYTHON) is not Python 3.10 or newer; name one that is: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo '$(PYTHON) has no venv; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@[ ! -e $(RUN) -a ! -L $(RUN) ] || $(RUN) -c '' 2>/dev/null || \
	    { echo 'the Python of $(VENV) is gone; remove it, and it is made anew: rm -rf $(VENV)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo 'installing what requirements.txt asks for; PyTorch is large, and may take some minutes'
	@[ "$$(uname)" != Linux ] || [ -z '$(TORCH_CPU)' ] || PIP_CONFIG_FILE=/dev/null $(PIP) --isolated --quiet \
	    --retries 0 --timeout 5 --index-url $(TORCH_CPU) $$(grep ^torch requirements.txt) || \
	    echo 'PyTorch without CUDA cannot be had from $(TORCH_CPU), as said above; the ordinary one is installed, a' \
	    'download of up to 3 GB'
	$(PIP) -r requirements.txt
	@$(RUN) -c 'import importlib.metadata as m; print("PyTorch", m.version("torch"))'
	@touch $@

$(VENV)/installed-experiments $(VENV)/installed-dev: $(VENV)/installed-%: requirements-%.txt $(VENV)/installed requirements-experiments.txt
	$(PIP) -r $<
	@touch $@
