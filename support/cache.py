"""numba's cache of compiled code with checksums: without them numba would run what is in a damaged file."""
import os
import pickle
from contextlib import suppress
from hashlib import sha256

from numba.core import caching

from support import cli


class CheckedCode(caching.CompileResultCacheImpl):
    """Code and its checksum."""

    def reduce(self, result):
        code = caching.dumps(super().reduce(result))
        return sha256(code).digest(), code

    def rebuild(self, context, data):
        digest, code = data
        if sha256(code).digest() != digest:
            raise ValueError('damaged')
        return super().rebuild(context, pickle.loads(code))


class Cache(caching.FunctionCache):
    """What cannot be read, or is not what was written, is compiled anew; what cannot be written is not kept."""
    _impl_class = CheckedCode

    def load_overload(self, signature, context):
        found = None
        try:
            found = super().load_overload(signature, context)
        except Exception:               # pickle has many errors for bytes that are not its own
            with suppress(OSError):
                self.flush()            # an empty index, for save_overload
        if not found:
            name = os.path.basename(self._py_func.__code__.co_filename)
            cli.warn(f'compiling {name}, which is done once ...')
        return found

    def save_overload(self, signature, result):
        try:
            super().save_overload(signature, result)
        except Exception as e:
            cli.warn(f'compiled code is not kept: {e}')


def cached(function):
    """The numba function, cached where numba does: in __pycache__, else in the user's cache directory, else nowhere."""
    try:
        function._cache = Cache(function.py_func)
    except RuntimeError:                # no folder can be written
        cli.warn('compiled code is not kept, as no folder for it can be written; set NUMBA_CACHE_DIR')
    except (AttributeError, OSError):   # a numba that has no such thing
        pass
    return function
