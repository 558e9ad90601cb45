"""The Results of a directory at a URL too: fetched before runs are done, sent as they end."""

from __future__ import annotations

from pathlib import Path

from seqbench.errors import OutputError, ResultError, SeqbenchError
from seqbench.files import File, files_below, read_file, write_file
from seqbench.result import RETRIED, Result, leave_result, parse_result

_FOLDERS = ("", "trials/")


class Home:
    """A URL where the Results of a directory go, and where others may have left theirs.

    Only whole Results travel. Leases, checkpoints and logs stay in the directory, so that two
    directories with one URL may do a run twice; the Result that was there first stays.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self._known: dict[Path, int] = {}

    def fetch(self) -> list[SeqbenchError]:
        """Take the Results that the directory lacks; an error for each that cannot be read.

        Raises:
            ConfigError: the URL is of no kind that can be read here.
            OutputError: the directory cannot be written.

        """
        errors: list[SeqbenchError] = []
        for folder in _FOLDERS:
            for file in files_below(self.url, f"{folder}results"):
                try:
                    theirs = parse_result(file.name, file.read)
                    ours = leave_result(theirs, self.directory / folder)
                except ResultError as error:
                    errors.append(error)
                    continue
                if ours.digest == theirs.digest or theirs.status not in RETRIED:
                    self._known[file.relative] = self._stamp(file.relative)
        return errors

    def send(self) -> list[SeqbenchError]:
        """Send the Results that are new in the directory, but where one is that stays.

        Gives an error for each that cannot be read; the first that cannot be sent ends it, and it
        is sent with the next.
        """
        errors: list[SeqbenchError] = []
        for folder in _FOLDERS:
            for file in files_below(self.directory, f"{folder}results"):
                stamp = self._stamp(file.relative)
                if self._known.get(file.relative) == stamp:
                    continue
                try:
                    self._send(file, self.directory / folder)
                except OutputError as error:
                    return [*errors, error]
                except ResultError as error:
                    errors.append(error)
                else:
                    self._known[file.relative] = stamp
        return errors

    def _send(self, file: File, directory: Path) -> None:
        """Send one, or take the one that stays there in its place."""
        parse_result(file.name, file.read)
        name = file.relative.as_posix()
        theirs = self._there(name)
        if theirs is None or theirs.status in RETRIED:
            write_file(self.url, name, file.read())
        else:
            leave_result(theirs, directory)

    def _there(self, name: str) -> Result | None:
        """What is at the URL by now, if it can be read."""
        content = read_file(self.url, name)
        if content is None:
            return None
        try:
            return parse_result(f"{self.url}/{name}", lambda: content)
        except ResultError:
            return None

    def _stamp(self, relative: Path) -> int:
        return (self.directory / relative).stat().st_mtime_ns
