"""New plugins: a complete package that passes its checks, made from a working one.

The templates are the packages of ``mynet`` and ``mytask`` beside this file; their names are
replaced.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Literal

from seqbench import registry
from seqbench.errors import ConfigError, OutputError

Kind = Literal["model", "task"]

_WORDS = {"model": ("mynet", "MyNet"), "task": ("mytask", "MyTask")}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 30


def new_plugin(kind: Kind, name: str, parent: Path) -> Path:
    """Write a plugin with a model or a task called ``name`` to ``parent/seqbench-NAME``.

    Raises:
        ConfigError: the name cannot be one, or is taken, or the folder is there.
        OutputError: it cannot be written; then nothing is.

    """
    _check_name(name)
    folder = parent / f"seqbench-{name}"
    if folder.exists():
        raise ConfigError(
            f"{folder} is there already", "choose another name, or another --output-dir"
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{folder.name}-") as scratch:
            whole = Path(scratch, folder.name)
            for path, text in _files(kind, name):
                target = whole / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            shutil.move(whole, folder)
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror}",
            "choose a directory you may write to, with --output-dir",
        ) from error
    return folder


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        like = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:_LONGEST]
        raise ConfigError(
            f"{name!r} cannot be a name: expected up to {_LONGEST} small letters, digits and "
            "single dashes, a letter first",
            f"{like!r} can" if _NAME.fullmatch(like) else "",
        )
    for group in (registry.TASKS, registry.MODELS):
        if entry := registry.entries(group).get(name):
            raise ConfigError(
                f"the name {name!r} is taken by a {entry.kind} of {entry.distribution} "
                f"{entry.distribution_version}",
                "choose another, or uninstall that distribution",
            )
    if importlib.util.find_spec(_module(name)):
        raise ConfigError(
            f"the name {name!r} is taken: there is a module {_module(name)!r} already",
            "choose another, or uninstall the distribution that has it",
        )


def _files(kind: Kind, name: str) -> Iterator[tuple[PurePosixPath, str]]:
    """Every file of the template with the names replaced, by its path in the plugin."""
    word, class_ = _WORDS[kind]
    template = resources.files(__name__) / kind
    replacements = {
        f"seqbench_{word}": _module(name),
        f"test_{word}": f"test_{_module(name).removeprefix('seqbench_')}",
        word: name,
        class_: _class(kind, name, (template / f"seqbench_{word}.py").read_text("utf-8")),
    }
    pattern = re.compile("|".join(replacements))
    for path, text in _walk(template, PurePosixPath()):
        renamed, written = (
            pattern.sub(lambda match: replacements[match[0]], each) for each in (str(path), text)
        )
        yield PurePosixPath(renamed), written


def _class(kind: Kind, name: str, source: str) -> str:
    """What the class is called: no word of the module that it stands in, nor of Python."""
    class_ = "".join(part.capitalize() for part in name.split("-"))
    taken = {*re.findall(r"\w+", source), *keyword.kwlist}
    return class_ + kind.capitalize() if class_ in taken else class_


def _walk(folder: Traversable, below: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for item in folder.iterdir():
        if item.name.startswith((".", "__")):  # caches of Python and of linters
            continue
        if item.is_dir():
            yield from _walk(item, below / item.name)
        else:
            yield below / item.name, item.read_text(encoding="utf-8")


def _module(name: str) -> str:
    return f"seqbench_{name.replace('-', '_')}"
