"""A model in a file of its own, before it is packaged."""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from seqbench import registry
from seqbench.errors import ConfigError, PluginError, UnknownNameError
from seqbench.explain import in_one_line
from seqbench.registry import Entry

_FORMS = "FILE.py, FILE.py:CLASS or FILE.py:CLASS:PRESET"
_REFERENCE = re.compile(r"(?P<file>.+\.py)(:(?P<model>\w*)(:(?P<preset>.+))?)?")
_STEM = re.compile(r"[\w.-]+")
_MEND = "mend that line"


def model_named(name: str | None, file: str | None) -> str:
    """What a request calls the model that is either named or in a file.

    Raises:
        ConfigError: it is neither or both; or as ``add_model``.

    """
    if name is not None and file is None:
        return name
    if file is not None and name is None:
        return add_model(file)
    both = "both are given" if name is not None else "neither is given"
    raise ConfigError(f"the model is either MODEL or in a file, --from-file {_FORMS}: {both}")


def add_model(reference: str) -> str:
    """Register the model in a file for this process; give what a request calls it.

    ``reference`` is ``FILE.py``, ``FILE.py:CLASS`` or ``FILE.py:CLASS:PRESET``. The name is
    ``FILE.CLASS@HASH``, by the first 8 hexadecimal digits of the SHA-256 of the file: a model in
    a file is never taken for a registered one, and a changed file is another model.

    Raises:
        ConfigError: the file cannot be read, or it is not said which of several models is meant.
        UnknownNameError: the file has no such model.
        PluginError: the file cannot be imported, or holds no model.

    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigError(f"{reference!r} names no model in a file: expected {_FORMS}")
    path = Path(match["file"])
    if not _STEM.fullmatch(path.stem):
        raise ConfigError(
            f"the file's name {path.stem!r} cannot be part of a model's name",
            "rename it: letters, digits, `_`, `-` and `.`",
        )
    module, sha256 = load_file(path)
    model = _chosen(module, path, match["model"])
    entry = Entry(
        group=registry.MODELS,
        name=f"{path.stem}.{model}{registry.FILE_MARK}{sha256[:8]}",
        distribution=path.name,
        distribution_version=sha256,
        value=f"{module.__name__}:{model}",
    )
    registry.add(entry)
    return f"{entry.name}:{match['preset']}" if match["preset"] else entry.name


def load_file(path: Path) -> tuple[ModuleType, str]:
    """The module that a file is, run once a process as long as it stays the same, and its SHA-256.

    Raises:
        ConfigError: it cannot be read.
        PluginError: it cannot be run.

    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    sha256 = hashlib.sha256(source).hexdigest()
    name = f"{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{sha256[:8]}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(path.resolve())
        sys.modules[name] = module  # where dataclasses look up what annotations mean
        try:
            code = compile(source, str(path), "exec", dont_inherit=True)
            exec(code, vars(module))  # noqa: S102  (what runs is what was hashed)
        except BaseException as error:
            del sys.modules[name]
            raise _unusable(path, error) from error
    return sys.modules[name], sha256


def _unusable(path: Path, error: BaseException) -> BaseException:
    """What to say of an error in the file; an interrupt stays one."""
    if isinstance(error, KeyboardInterrupt):
        return error
    if isinstance(error, SyntaxError):
        text = f": {error.text.strip()}" if error.text else ""
        return PluginError(f"{path}, line {error.lineno}: {error.msg}{text}", _MEND)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    hint = _MEND
    if isinstance(error, ImportError):
        hint += (
            ": a model in a file may import installed packages, not files beside it; "
            "`seqbench new model NAME` makes a package"
        )
    where = f", line {lines[-1]}" if lines else ""
    return PluginError(f"{path}{where}: {in_one_line(error)}", hint)


def _chosen(module: ModuleType, path: Path, name: str | None) -> str:
    """The name of the model that is meant."""
    from seqbench.model import Model

    classes = {
        value.__name__: value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    models = sorted(name for name, value in classes.items() if issubclass(value, Model))
    if not models:
        there = f"only {', '.join(sorted(classes))}" if classes else "no class at all"
        raise PluginError(
            f"{path} holds no model: there is {there}",
            "a model is a subclass of seqbench.model.Model, defined in the file",
        )
    if name and name not in models:
        raise UnknownNameError(f"model in {path}", name, models)
    if not name and len(models) > 1:
        raise ConfigError(
            f"{path} holds {len(models)} models: {', '.join(models)}",
            f"say which one, as {path}:{models[0]}",
        )
    return name or models[0]
