"""Data that are missing, damaged or changed, and the file of converted clips in every danger."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from seqbench_speech import store
from seqbench_speech.corpus import Corpus
from seqbench_speech.selections import SC10
from seqbench_speech.tasks import SC10Raw, SC10RawKidger, SC35Raw
from seqbench_speech.wav import read_wav
from synthetic_speech import write_clip

from seqbench.errors import DataError, PluginError
from seqbench.registry import TASKS, check, entries
from seqbench.task import Task

NOISE = np.random.RandomState(3).randint(-9_000, 9_000, 32_000).astype(np.int16)


def cut_off(path: Path) -> None:
    """Leave half of the file."""
    os.truncate(path, path.stat().st_size // 2)


def stereo(path: Path) -> None:
    """One second of two channels."""
    write_clip(path, NOISE, channels=2)


def fast(path: Path) -> None:
    """A third of a second at 44.1 kHz."""
    write_clip(path, NOISE[:16_000], rate=44_100)


def coarse(path: Path) -> None:
    """One second of 8 bits."""
    write_clip(path, NOISE[:16_000].astype(np.uint8))


def long(path: Path) -> None:
    """One sample more than a second."""
    write_clip(path, NOISE[:16_001])


def silent(path: Path) -> None:
    """A header and nothing else."""
    write_clip(path, NOISE[:0])


def empty(path: Path) -> None:
    """No bytes at all."""
    path.write_bytes(b"")


def text(path: Path) -> None:
    """Something else by that name."""
    path.write_text("this is no sound, but it is longer than the header of a WAV file")


def headless(path: Path) -> None:
    """The file ends within its header."""
    os.truncate(path, 30)


def gone(path: Path) -> None:
    """A link to nothing."""
    path.unlink()
    path.symlink_to("nowhere.wav")


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (cut_off, r"is cut off: 7,989 samples of 16,000 are there"),
    (stereo, r"has 2 channel\(s\) of 16 bits at 16,000 Hz; a clip has 1 of 16 bits at 16,000 Hz"),
    (fast, r"has 1 channel\(s\) of 16 bits at 44,100 Hz; a clip has 1 of 16 bits at 16,000 Hz"),
    (coarse, r"has 1 channel\(s\) of 8 bits at 16,000 Hz"),
    (long, r"has 16,001 samples; a clip has 1 to 16,000"),
    (silent, r"has 0 samples; a clip has 1 to 16,000"),
    (empty, r"is no WAV file: it ends too early"),
    (text, r"is no WAV file: file does not start with RIFF id"),
    (headless, r"is no WAV file"),
    (gone, r"cannot be read: No such file"),
]


@pytest.mark.parametrize(("damage", "what"), DAMAGES, ids=[item[0].__name__ for item in DAMAGES])
@pytest.mark.parametrize("task", [SC10Raw, SC10RawKidger])
def test_a_damaged_clip_is_named(
    task: type[SC10Raw], damage: Callable[[Path], None], what: str, data: Path, folder: Path
) -> None:
    """One error with the file, what is wrong with it and what to do; nothing is kept."""
    clip = sorted((folder / "stop").glob("*.wav"))[3]
    (folder / "validation_list.txt").write_text(f"stop/{clip.name}\n")
    damage(clip)
    with pytest.raises(DataError, match=what) as caught:
        task(data_dir=data).fit_data()
    assert caught.value.message.startswith(str(clip))
    assert caught.value.hint
    assert not list(data.rglob("sc10-*-validation.safetensors"))


def clear(folder: Path) -> None:
    """A list without a line."""
    (folder / "validation_list.txt").write_text("")


def add_blank_line(folder: Path) -> None:
    """A line that names nothing."""
    with (folder / "validation_list.txt").open("a") as file:
        file.write("\n")


def list_other_words(folder: Path) -> None:
    """A list of clips that the task does not use."""
    (folder / "validation_list.txt").write_text("zero/abc_nohash_0.wav\n")


def list_a_missing_clip(folder: Path) -> None:
    """A list that names a clip that is not there."""
    with (folder / "validation_list.txt").open("a") as file:
        file.write("yes/00000000_nohash_9.wav\n")


def overwrite_with_bytes(folder: Path) -> None:
    """A list that is no text."""
    (folder / "validation_list.txt").write_bytes(b"yes/\xff\xfe")


def remove_the_list(folder: Path) -> None:
    """No list."""
    (folder / "validation_list.txt").unlink()


def remove_a_word(folder: Path) -> None:
    """No folder of a word."""
    (folder / "go").rename(folder / "gone")


def remove_everything(folder: Path) -> None:
    """No data set."""
    folder.rename(folder.with_name("speech_commands_v0.01"))


DEFECTS: list[tuple[Callable[[Path], None], str]] = [
    (clear, r"validation_list\.txt names no clip at all"),
    (add_blank_line, r"validation_list\.txt has an entry that is not of the form WORD/SPEAKER_"),
    (list_other_words, r"validation_list\.txt names no clip of yes, no, up"),
    (list_a_missing_clip, r"yes/00000000_nohash_9\.wav cannot be read: No such file"),
    (overwrite_with_bytes, r"v0\.02 or a list in it has an entry that is not of the form"),
    (remove_the_list, r"validation_list\.txt cannot be read: No such file"),
    (remove_a_word, r"speech_commands_v0\.02 has no clips of go"),
    (remove_everything, r"there is no .*speech_commands_v0\.02"),
]


@pytest.mark.parametrize(("defect", "what"), DEFECTS, ids=[item[0].__name__ for item in DEFECTS])
def test_a_data_set_that_is_not_whole_is_refused(
    defect: Callable[[Path], None], what: str, data: Path, folder: Path
) -> None:
    """One error with what is missing and how to get it."""
    defect(folder)
    with pytest.raises(DataError, match=what) as caught:
        SC10Raw(data_dir=data).fit_data()
    assert "seqbench fetch sc10-raw" in caught.value.hint


def test_words_that_are_missing_are_all_named(data: Path) -> None:
    """Ten words are not 35."""
    with pytest.raises(DataError, match=r"has no clips of backward, bed, .*, wow, zero"):
        SC35Raw(data_dir=data).fit_data()


def test_too_few_clips_for_the_random_split(data: Path, folder: Path) -> None:
    """One clip of a word cannot be in three splits."""
    for clip in sorted((folder / "up").glob("*.wav"))[1:]:
        clip.unlink()
    with pytest.raises(DataError, match=r"\d+ clips of one second in .* cannot be split: .*least"):
        SC10RawKidger(data_dir=data).fit_data()


def converted(data: Path) -> Path:
    """The file of the training clips."""
    return data / "SpeechCommands" / "seqbench-cache" / "sc10-training.safetensors"


def test_clips_are_converted_once(
    data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time no clip is read; the samples are mapped from the file, not loaded."""
    first = SC10Raw(data_dir=data).fit_data()
    assert "converting sc10-training: 60" in capfd.readouterr().err
    monkeypatch.setattr(store, "read_wav", None)
    second = SC10Raw(data_dir=data).fit_data()
    assert "converting" not in capfd.readouterr().err
    assert torch.equal(second.train.x, first.train.x)
    assert second.train.source == first.train.source
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(converted(data)) in maps.read_text()


def test_a_terminal_shows_a_bar(
    data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is done, and how many clips of how many are converted."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    SC10Raw(data_dir=data).test_data()
    shown = capfd.readouterr().err
    assert "converting sc10-testing" in shown
    assert "20/20" in shown


def test_what_is_done_to_samples_does_not_reach_the_file(data: Path) -> None:
    """The mapping is private: a task cannot spoil the data of the next run."""
    train = SC10Raw(data_dir=data).fit_data().train
    before = converted(data).read_bytes()
    train.x.zero_()
    assert converted(data).read_bytes() == before


def half(whole: bytes) -> bytes:
    """Cut off half-way."""
    return whole[: len(whole) // 2]


def flipped(whole: bytes) -> bytes:
    """One bit of one sample."""
    return whole[:-500_001] + bytes([whole[-500_001] ^ 1]) + whole[-500_000:]


def foreign(whole: bytes) -> bytes:
    """No file of this kind."""
    return b"PK" + whole[:1_000]


@pytest.mark.parametrize("damage", [half, flipped, foreign, lambda _: b""])
def test_a_damaged_file_of_clips_is_made_again(
    damage: Callable[[bytes], bytes], data: Path
) -> None:
    """Whatever became of the file, the samples are right, and the file is whole again."""
    first = SC10Raw(data_dir=data).fit_data().train
    whole = converted(data).read_bytes()
    converted(data).unlink()  # the mapping keeps what it has
    converted(data).write_bytes(damage(whole))
    again = SC10Raw(data_dir=data).fit_data().train
    assert torch.equal(again.x, first.x)
    assert again.source == first.source
    assert converted(data).stat().st_size == len(whole)


def test_a_clip_that_changed_is_converted_anew(data: Path, folder: Path) -> None:
    """Even one of the same size and the same time of modification."""
    before = SC10Raw(data_dir=data).fit_data().train
    clip = next(c for c in Corpus(data).clips(SC10.words, "training") if c.name.endswith("_0.wav"))
    path = folder / clip.name
    stat = path.stat()
    write_clip(path, NOISE[:16_000])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    after = SC10Raw(data_dir=data).fit_data().train
    assert not torch.equal(after.x, before.x)
    assert any(np.array_equal(row, NOISE[:16_000]) for row in after.x.numpy())
    assert after.source.sha256 != before.source.sha256


def test_a_list_that_changed_makes_other_splits(data: Path, folder: Path) -> None:
    """A clip taken off the list for testing is for training."""
    before = SC10Raw(data_dir=data).fit_data().train
    listed = (folder / "testing_list.txt").read_text().splitlines(keepends=True)
    (folder / "testing_list.txt").write_text("".join(listed[1:]))
    task = SC10Raw(data_dir=data)
    assert len(task.fit_data().train) == len(before) + 1
    assert len(task.test_data()) == len(listed) - 1


def test_a_failure_half_way_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that stops in the middle is as if it had not begun."""
    names = iter(range(30))

    def read(path: Path) -> object:
        if next(names, None) is None:
            raise KeyboardInterrupt
        return read_wav(path)

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_wav", read)
        with pytest.raises(KeyboardInterrupt):
            SC10Raw(data_dir=data).fit_data()
    assert [file.name for file in converted(data).parent.iterdir()] == ["sc10-training.lock"]
    assert len(SC10Raw(data_dir=data).fit_data().train) == 60


def test_what_a_killed_process_left_is_removed(data: Path) -> None:
    """Half a conversion does not fill the disk for ever."""
    left = converted(data).parent / ".sc10-training-part-abc"
    left.mkdir(parents=True)
    (left / "samples").write_bytes(bytes(1_000))
    SC10Raw(data_dir=data).fit_data()
    assert not left.exists()


PROCESS = """
import sys, time
from pathlib import Path
from seqbench_speech.tasks import SC10Raw
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
fit = SC10Raw(data_dir=Path(sys.argv[1])).fit_data()
print(fit.train.source.sha256, len(fit.train))
"""


def test_two_processes_at_once_convert_once(data: Path, tmp_path: Path) -> None:
    """One converts, the other waits for it; both have the same whole data."""
    go = tmp_path / "go"
    command = [sys.executable, "-c", PROCESS, str(data), str(go)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = SC10Raw(data_dir=data).fit_data().train.source.sha256
    assert [out for out, _ in outputs] == [f"{expected} 60\n"] * 2
    assert sum(err.count("converting sc10-training") for _, err in outputs) == 1


def test_without_a_lock_the_file_is_whole_all_the_same(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that knows no locks, a process that was overtaken replaces whole by whole."""

    def read(path: Path) -> object:
        monkeypatch.setattr(store, "read_wav", read_wav)
        store._write(converted(data), key, corpus, SC10.words, clips)  # by another process
        return read_wav(path)

    corpus = Corpus(data)
    clips = corpus.clips(SC10.words, "training")
    key = corpus.state(clips)
    monkeypatch.setattr(store, "read_wav", read)
    train = SC10Raw(data_dir=data).fit_data().train
    assert len(train) == 60


def test_the_file_lies_where_it_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEQBENCH_CACHE goes before a place beside the data, which is then left alone."""
    monkeypatch.setenv("SEQBENCH_CACHE", str(tmp_path / "cache"))
    SC10Raw(data_dir=data).fit_data()
    assert len(list((tmp_path / "cache").rglob("sc10-*.safetensors"))) == 2
    assert not converted(data).parent.exists()


def test_data_that_cannot_be_written_are_converted_into_the_users_cache(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was converted beside them when they could be is used nevertheless."""
    monkeypatch.setattr(os, "access", lambda path, _: data not in Path(path).parents)
    SC10Raw(data_dir=data).fit_data()
    assert len(list((tmp_path / "user").rglob("sc10-*.safetensors"))) == 2
    assert not converted(data).parent.exists()


def test_a_place_that_cannot_be_written_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which file, why, and how to choose another place."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"sc10-training\.safetensors: .*Not a directory") as caught:
        SC10Raw(data_dir=data).fit_data()
    assert "SEQBENCH_CACHE=DIR" in caught.value.hint


def test_torchaudio_that_does_not_load_stays_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks say why they cannot be used, and no other task minds."""
    for name in [
        name for name in sys.modules if name.startswith(("seqbench_speech", "torchaudio"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchaudio.py").write_text("raise OSError('lib.so: undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {name: check(entry, Task).broken for name, entry in entries(TASKS).items()}
    assert found["sdigits"] is None
    assert found["sc10-raw"] is not None
    assert f"does not load beside torch {torch.__version__}: lib.so: undef" in found["sc10-raw"]
    assert "pip install 'torch==2.11.*' 'torchaudio==2.11.0'" in found["sc10-raw"]
    with pytest.raises(PluginError, match=r"torchaudio .* does not load"):
        import seqbench_speech  # noqa: F401
