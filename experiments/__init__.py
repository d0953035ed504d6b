"""
Beyond the paper's own script: comparisons, claims, pictures. Run them as `python -m experiments.NAME`. They need what
requirements-experiments.txt names too.
"""
