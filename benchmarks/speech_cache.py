"""What the file of converted clips costs and gains, on sc10-raw.

    python benchmarks/speech_cache.py --data-dir DIR [--threads 1] [--batch-size 32] [--repeats 3]

Printed: seconds and bytes of converting all clips into a new directory; seconds of opening what is
there (clips listed, their state compared, samples hashed); an epoch of training batches mapped from
the file against decoding each clip's WAV file again, in turn (medians and their ratio; the files
are in the system's cache, so the difference is work, not the disk); and milliseconds a batch of
what a task makes of the samples: standardised, resampled, MFCC.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from seqbench_speech.corpus import Corpus
from seqbench_speech.selections import SC10
from seqbench_speech.tasks import SC10MFCC, RawConfig, SC10Raw, SpeechTask
from seqbench_speech.wav import SAMPLES, read_wav
from torch import Tensor


def seconds(what: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def load(data_dir: Path) -> SC10Raw:
    """The task with all three splits loaded."""
    task = SC10Raw(data_dir=data_dir)
    task.fit_data()
    task.test_data()
    return task


def decoded(paths: list[Path]) -> Tensor:
    """A batch of clips from their WAV files."""
    batch = np.zeros((len(paths), SAMPLES), np.int16)
    for row, path in zip(batch, paths, strict=True):
        samples = read_wav(path).samples
        row[: len(samples)] = samples
    return torch.from_numpy(batch)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SEQBENCH_CACHE"] = cache
        measure(arguments, Path(cache))


def measure(arguments: argparse.Namespace, cache: Path) -> None:
    """Convert, open, and go through epochs both ways."""
    corpus = Corpus(arguments.data_dir)
    paths = [corpus.folder / clip.name for clip in corpus.clips(SC10.words)]
    built = seconds(lambda: load(arguments.data_dir))
    size = sum(file.stat().st_size for file in cache.rglob("*.safetensors"))
    wav = sum(path.stat().st_size for path in paths)
    rate = len(paths) / built
    print(f"converting {len(paths):,} clips: {built:.2f} s, {rate:,.0f} clips a second")
    print(f"size: {size / 2**20:.1f} MiB; WAV {wav / 2**20:.1f}; float32 {2 * size / 2**20:.1f}")
    opened = statistics.median(seconds(lambda: load(arguments.data_dir)) for _ in range(3))
    print(f"opening: {opened:.2f} s")

    task = load(arguments.data_dir)
    train = task.fit_data().train.x
    names = [corpus.folder / clip.name for clip in corpus.clips(SC10.words, "training")]

    def batches() -> Iterator[Tensor]:
        return iter(torch.randperm(len(train)).split(arguments.batch_size))

    def mapped() -> None:
        for index in batches():
            task.encode(train[index])

    def afresh() -> None:
        for index in batches():
            task.encode(decoded([names[i] for i in index.tolist()]))

    task.encode(train[:1])
    epochs = [(seconds(mapped), seconds(afresh)) for _ in range(arguments.repeats)]
    ours, theirs = (statistics.median(times) for times in zip(*epochs, strict=True))
    ratio = statistics.median(b / a for a, b in epochs)
    print(
        f"epoch of batches: mapped {ours:.2f} s, decoded afresh {theirs:.2f} s, ratio {ratio:.1f}"
    )
    encodings(arguments, train[: arguments.batch_size])


def encodings(arguments: argparse.Namespace, batch: Tensor) -> None:
    """What a task makes of a batch."""
    tasks: list[SpeechTask] = [SC10Raw(data_dir=arguments.data_dir)]
    for rate in (1 / 2, 1 / 4, 1 / 8):
        tasks += [
            SC10Raw(RawConfig(rate, how), data_dir=arguments.data_dir)
            for how in ("lowpass", "subsample")
        ]
    tasks.append(SC10MFCC(data_dir=arguments.data_dir))
    for task in tasks:
        first = seconds(lambda task=task: task.encode(batch))
        times = [seconds(lambda task=task: task.encode(batch)) for _ in range(10)]
        what = f"{task.name} {task.config}"
        print(f"{1e3 * statistics.median(times):6.2f} ms a batch (first {first:.2f} s)  {what}")


if __name__ == "__main__":
    main()
