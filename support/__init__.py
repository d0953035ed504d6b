"""What the three scripts lean on. They import it first: it says what is not installed."""
import importlib.util
import os
import sys

MISSING = [name for name in ('numpy', 'torch') if importlib.util.find_spec(name) is None]
if MISSING:
    script = os.path.basename(sys.argv[0])
    message = f'{script}: {" and ".join(MISSING)} cannot be imported; run: pip install -r requirements.txt'
    raise (SystemExit if script in ('prepro.py', 'repro.py', 'modern.py') else ImportError)(message)
