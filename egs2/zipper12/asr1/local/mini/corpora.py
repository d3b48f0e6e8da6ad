"""Stage 0 at mini scale: synthesise the corpora in their real layouts and codecs, and the utterance lists.

In: the plan (who says what). Out: OUT/{mls,commonvoice,librispeech,msr86k,wenetspeech} and OUT/utt_ids. Each corpus in
one language is made, recorded and checked separately, so a new language leaves the others as they are. The pitch of
espeak-ng depends on earlier calls in a process; about 100 utterances each therefore get a process of their own, and the
same seed gives the same corpora for any --nj.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from local.mini.acoustics import Accent, Channel, draw_acoustics
from local.mini.espeak import Espeak, draw_voice, voice_name
from local.mini.layout import Record, Spoken
from local.mini.layouts import LAYOUTS
from local.mini.plan import CONFIG, DATASETS, LANGUAGES, MiniConfig, Part, load_plan, train_count
from zipperasr.atomic import FINGERPRINT, atomic_path, fingerprint, mark_current, read_record, scratch_directory
from zipperasr.cli import log
from zipperasr.datadir.entry import write_lines
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.sole_writer import sole_writer

TASK_SPEAKERS = 10
LISTS = "utt_ids"
# decide what files contain
CODE = ("acoustics.py", "corpora.py", "espeak.py", "layout.py", "layouts.py", "long_recordings.py")


@dataclass(frozen=True)
class Share:
    """A corpus in one language: what is made, recorded and checked as a whole."""

    corpus: str
    language: str
    parts: tuple[Part, ...]
    lists: dict[str, tuple[str, int | None]]  # file name -> kind and number of its utterances; None: all
    sizes: MiniConfig

    @property
    def acoustics(self) -> tuple[Channel, Accent]:
        return self.sizes.acoustics.of(self.corpus, self.language)

    def digest(self) -> str:
        """Digest everything that decides what the files contain: sentences, voices, acoustics, layout and lists."""
        said = [(part.split, part.kind, part.sentences) for part in self.parts]
        numbers = (self.sizes.speaker_utts, self.sizes.repeats, self.sizes.seed)
        code = {name: Path(__file__).with_name(name) for name in CODE}
        acoustics = [asdict(part) for part in self.acoustics]
        settings = {"lists": self.lists, "numbers": numbers, "acoustics": acoustics}
        inputs = fingerprint(said=said, espeak=version("espeakng-loader"), **settings, **code)
        return fingerprint(inputs=inputs)["inputs"]


@dataclass(frozen=True)
class Task:
    """Some speakers of a part; one process."""

    root: Path
    part: Part  # only the task's own sentences
    first_speaker: int  # speakers are numbered within a corpus and language
    speaker_utts: int
    seed: int
    acoustics: tuple[Channel, Accent]


def make_corpora(
    out: Path, nj: int, config: str | Path = CONFIG, datasets: str | Path = DATASETS, languages: str | Path = LANGUAGES
) -> None:
    """Make what is missing or out of date of the corpora and lists below `out`; the rest stays untouched."""
    shares = plan_shares(config, datasets, languages)
    missing = [share for share in shares if not _is_made(share, out)]
    if not missing:
        log(f"stage 0: the mini corpora in {out} are complete and their inputs are unchanged; nothing to do")
        return
    for share in missing:
        voice_name(share.language)  # raises before any work is done
    for name in [*LAYOUTS, LISTS]:
        _refuse_foreign(out / name)
    count, seconds = 0, 0.0
    with sole_writer(out), scratch_directory(out) as scratch:
        for share, records in _speak_all(missing, scratch, nj):
            _install(share, records, scratch, out)
            count += len(records)
            seconds += sum(record.duration_s for record in records)
    log(
        f"stage 0: wrote {count} utterances, {seconds / 3600:.2f} h, of {len(missing)} corpora and languages to {out}; "
        f"{len(shares) - len(missing)} were up to date"
    )


def plan_shares(config: str | Path, datasets: str | Path, languages: str | Path) -> list[Share]:
    """Return what the tables ask for, by corpus and language."""
    sizes, rows, parts = load_plan(config, datasets, languages)
    by_key: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for part in parts:
        by_key[part.corpus, part.language].append(part)
    return [Share(*key, tuple(mine), _lists(*key, sizes, rows), sizes) for key, mine in by_key.items()]


def _lists(
    corpus: str, language: str, sizes: MiniConfig, rows: dict[str, list[DatasetRow]]
) -> dict[str, tuple[str, int | None]]:
    """Return the authors' list files of one corpus and language."""
    lists = {}
    for setting, setting_rows in rows.items():
        for row in setting_rows:
            if (row.corpus, row.language) == (corpus, language):
                lists[row.train_list] = "train", train_count(sizes, row, setting, rows)
                lists[row.test_list] = "test", None
    return {name: content for name, content in lists.items() if name}


def _is_made(share: Share, out: Path) -> bool:
    root = out / share.corpus
    known = (read_record(root / FINGERPRINT) or {}).get(share.language)
    files = [root / path for path in LAYOUTS[share.corpus].paths(share.language)]
    return known == share.digest() and all(path.exists() for path in [*files, *(out / LISTS / n for n in share.lists)])


def _refuse_foreign(directory: Path) -> None:
    if directory.exists() and not (directory / FINGERPRINT).is_file():
        raise ValueError(f"{directory}: exists, but stage 0 at mini scale did not make it; move it away")


def _speak_all(shares: list[Share], scratch: Path, nj: int) -> Iterator[tuple[Share, list[Record]]]:
    """Synthesise below `scratch`; yield each share when its audio is complete."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    tasks = [list(_tasks(share, scratch / share.corpus)) for share in shares]
    total = sum(len(task.part.sentences) for of_share in tasks for task in of_share)
    with context.Pool(nj, maxtasksperchild=1) as pool, tqdm(total=total, desc="mini corpora", unit="utt") as progress:
        results = pool.imap(_speak, [task for of_share in tasks for task in of_share])
        for share, of_share in zip(shares, tasks, strict=True):
            records = []
            for _ in of_share:
                spoken = next(results)
                records += spoken
                progress.update(len(spoken))
            yield share, records


def _tasks(share: Share, root: Path) -> Iterator[Task]:
    each, speaker = share.sizes.speaker_utts, 0
    for part in share.parts:
        for start in range(0, len(part.sentences), TASK_SPEAKERS * each):
            chosen = part.sentences[start : start + TASK_SPEAKERS * each]
            piece = Part(part.corpus, part.language, part.split, part.kind, chosen)
            yield Task(root, piece, speaker, each, share.sizes.seed, share.acoustics)
            speaker += -(-len(chosen) // each)


def _speak(task: Task) -> list[Record]:
    """Synthesise a task's sentences, speaker by speaker, and write their audio."""
    part = task.part
    espeak, layout = Espeak(), LAYOUTS[part.corpus]
    records = []
    for offset in range(0, len(part.sentences), task.speaker_utts):
        speaker = task.first_speaker + offset // task.speaker_utts
        rng = random.Random(f"{task.seed} {part.corpus} {part.language} {speaker}")
        voice = draw_voice(rng, "test" if part.kind == "test" else "train")
        sound = draw_acoustics(*task.acoustics, rng)
        voice = sound.voice(voice)
        spoken = [
            Spoken(sentence.written, sound(espeak.say(sentence.spoken, part.language, voice)))
            for sentence in part.sentences[offset : offset + task.speaker_utts]
        ]
        records += layout.write_audio(task.root, part.language, part.split, part.kind, speaker, spoken, rng)
    return records


def _install(share: Share, records: list[Record], scratch: Path, out: Path) -> None:
    """Write metadata and lists, move everything into place, then record it as made."""
    layout, made, root = LAYOUTS[share.corpus], scratch / share.corpus, out / share.corpus
    layout.write_metadata(made, share.language, records)
    for directory in (root, out / LISTS):
        directory.mkdir(exist_ok=True)
    known = read_record(root / FINGERPRINT) or {}
    known.pop(share.language, None)
    mark_current(root, known, files=())
    for path in layout.paths(share.language):
        _replace(made / path, root / path)
    mark_current(out / LISTS, {}, files=())  # identifies the directory as made by stage 0
    for name, (kind, count) in share.lists.items():
        ids = [record.id for record in records if record.kind == kind][:count]
        with atomic_path(out / LISTS / name) as temporary:
            write_lines(temporary, ids + ids[: share.sizes.repeats])  # the authors' lists have repeated ids, too
    mark_current(root, {**known, share.language: share.digest()}, files=())


def _replace(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
