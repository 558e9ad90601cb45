"""Which clips are for training, validation and testing: by the official lists, or at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seqbench.errors import DataError
from seqbench.progress import track
from seqbench_speech.corpus import Clip, Corpus, Subset
from seqbench_speech.wav import SAMPLES, read_wav


@dataclass(frozen=True)
class Selection:
    """The clips of some words, by the official lists: no speaker is in two subsets.

    ``name`` is unique; a class is the index of a word in ``words``.
    """

    name: str
    words: tuple[str, ...]

    def candidates(self, corpus: Corpus, subset: Subset) -> list[Clip]:
        """All clips that decide what the subset is; known without reading one."""
        return corpus.clips(self.words, subset)

    def choose(self, corpus: Corpus, candidates: Sequence[Clip], subset: Subset) -> Sequence[Clip]:  # noqa: ARG002
        """The clips of the subset."""
        return candidates


class RandomSelection(Selection):
    """Clips of exactly one second at random, 70 / 15 / 15, stratified: speakers are shared.

    The split of the Neural CDE code (patrick-kidger/NeuralCDE, experiments/datasets/common.py),
    which the CKConv, FlexConv, S4 and LSSL code took over.

    Differs from the source: clips are drawn from a list by word and name. There it is by word
    and `os.listdir`, an order that depends on the file system, so nobody can know which clips
    the published numbers are on.
    """

    def candidates(self, corpus: Corpus, subset: Subset) -> list[Clip]:  # noqa: ARG002
        """All clips, by word and name."""
        return sorted(corpus.clips(self.words), key=lambda clip: (clip.label, clip.name))

    def choose(self, corpus: Corpus, candidates: Sequence[Clip], subset: Subset) -> Sequence[Clip]:
        """The clips of the subset, in the order in which they are drawn."""
        from sklearn.model_selection import train_test_split  # late: a second of imports

        whole = [
            clip
            for clip in track(candidates, "measuring clips")
            if len(read_wav(corpus.folder / clip.name).samples) == SAMPLES
        ]
        try:
            training, others = train_test_split(
                whole, train_size=0.7, random_state=0, stratify=[clip.label for clip in whole]
            )
            validation, testing = train_test_split(
                others, train_size=0.5, random_state=1, stratify=[clip.label for clip in others]
            )
        except ValueError as error:
            raise DataError(
                f"{len(whole):,} clips of one second in {corpus.folder} cannot be split: {error}"
            ) from error
        parts = {"training": training, "validation": validation, "testing": testing}
        chosen: Sequence[Clip] = parts[subset]
        return chosen


TEN = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

SC10 = Selection("sc10", TEN)
SC10_KIDGER = RandomSelection("sc10-kidger", TEN)
SC35 = Selection(
    "sc35",
    (
        *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward"),
        *("four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on"),
        *("one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up"),
        *("visual", "wow", "yes", "zero"),
    ),
)
