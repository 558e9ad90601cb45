"""Speech Commands v0.02 as tasks: raw audio and MFCC."""

from __future__ import annotations

from importlib.metadata import requires, version

import torch

from seqbench.errors import PluginError

try:
    import torchaudio  # noqa: F401  (native code: it loads beside the torch that it is built for)
except ModuleNotFoundError:  # it is not there, which is said already
    raise
except (ImportError, OSError, RuntimeError) as error:
    cause: BaseException = error
    while cause.__cause__:  # torch wraps what the linker says
        cause = cause.__cause__
    pins = [repr(each) for each in requires("seqbench-speech") or () if each.startswith("torch")]
    raise PluginError(
        f"torchaudio {version('torchaudio')} does not load beside torch {torch.__version__}: "
        f"{str(cause).splitlines()[0]}",
        f"these two do: pip install {' '.join(pins)}",
    ) from error
