"""Speech Commands v0.02 as tasks: raw audio and MFCC."""

from __future__ import annotations

from importlib.metadata import version

import torch

from seqbench.errors import PluginError

try:
    import torchaudio  # noqa: F401  (native code: it loads beside the torch that it is built for)
except ModuleNotFoundError:  # it is not there, which is said already
    raise
except (ImportError, OSError, RuntimeError) as error:
    raise PluginError(
        f"torchaudio {version('torchaudio')} does not load beside torch {torch.__version__}: "
        f"{str(error).splitlines()[0]}",
        "both must be of one release: pip install 'torch==2.11.*' 'torchaudio==2.11.*'",
    ) from error
