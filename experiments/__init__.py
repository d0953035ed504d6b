"""
Beyond the paper's own script: comparisons, claims, pictures. Run them as `python -m experiments.NAME`. They need what
requirements-experiments.txt names too.
"""
import importlib.util
import sys

PACKAGES = 'torch', 'numpy', 'matplotlib', 'PIL', 'scipy', 'sklearn', 'joblib', 'filelock', 'numba', 'tqdm'
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if MISSING:
    message = f'experiments need {", ".join(MISSING)}; run: pip install -r requirements-experiments.txt'
    raise (SystemExit if sys.argv[:1] == ['-m'] else ImportError)(message)       # -m: a script of ours starts
