"""The Results of a directory at a URL too: fetched before runs are done, sent as they end."""

from __future__ import annotations

from pathlib import Path

from seqbench.errors import OutputError, ResultError, SeqbenchError
from seqbench.files import files_below, write_file
from seqbench.result import RETRIED, leave_result, parse_result

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
        """Send the Results that are new in the directory; the error of the first that stays."""
        for folder in _FOLDERS:
            for file in files_below(self.directory, f"{folder}results"):
                stamp = self._stamp(file.relative)
                if self._known.get(file.relative) == stamp:
                    continue
                try:
                    parse_result(file.name, file.read)
                    write_file(self.url, file.relative.as_posix(), file.read())
                except (OutputError, ResultError) as error:
                    return [error]
                self._known[file.relative] = stamp
        return []

    def _stamp(self, relative: Path) -> int:
        return (self.directory / relative).stat().st_mtime_ns
