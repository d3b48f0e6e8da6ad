"""Stage 0 at mini scale: synthesise the corpora, in their real layouts and codecs, and the utterance lists.

In: the plan (who says what). Out: OUT/{mls,commonvoice,librispeech,msr86k,wenetspeech} and OUT/utt_ids. espeak-ng's
pitch runs on from call to call, so every task of about 100 utterances has a process of its own: the same seed gives
the same corpora, whatever --nj.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from local.mini.espeak import Espeak, draw_voice, voice_name
from local.mini.layouts import LAYOUTS, Record, Spoken
from local.mini.plan import (
    CONFIG,
    DATASETS,
    LANGUAGES,
    MiniConfig,
    Part,
    held_out_texts,
    load_plan,
    load_rows,
    train_count,
)
from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log
from zipperasr.datadir.entry import write_lines
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.sole_writer import sole_writer

__all__ = ["held_out_texts", "make_corpora"]

TASK_SPEAKERS = 10


@dataclass(frozen=True)
class Task:
    """Some speakers of a part; one process."""

    root: Path
    part: Part  # only the task's own sentences
    first_speaker: int  # speakers are counted through a corpus's language
    speaker_utts: int
    seed: int


def make_corpora(
    out: Path, nj: int, config: str | Path = CONFIG, datasets: str | Path = DATASETS, languages: str | Path = LANGUAGES
) -> None:
    """Write all corpora and lists below `out`, unless they are there. Replaces only what an earlier run made."""
    inputs = _fingerprint(*load_rows(config, datasets, languages))
    if all(is_current(folder, inputs) for folder in [out, *(out / name for name in [*LAYOUTS, "utt_ids"])]):
        log(f"stage 0: the mini corpora in {out} are complete and their inputs are unchanged; nothing to do")
        return
    sizes, rows, parts = load_plan(config, datasets, languages)
    for part in parts:
        voice_name(part.language)  # a language without one fails before any work
    for name in [*LAYOUTS, "utt_ids"]:
        _refuse_foreign(out / name)
    with sole_writer(out), contextlib.ExitStack() as stack:
        roots = {name: stack.enter_context(atomic_path(out / name)) for name in [*LAYOUTS, "utt_ids"]}
        for root in roots.values():
            root.mkdir(parents=True)
            mark_current(root, inputs)  # says that stage 0 made it
        records = _speak_all(list(_tasks(parts, roots, sizes)), nj)
        for (corpus, language), spoken in records.items():
            LAYOUTS[corpus].write_metadata(roots[corpus], language, spoken)
        _write_lists(roots["utt_ids"], sizes, rows, records)
    mark_current(out, inputs, files=())  # other downloads may lie beside
    seconds = sum(record.duration_s for group in records.values() for record in group)
    count = sum(len(group) for group in records.values())
    log(f"stage 0: wrote {count} utterances, {seconds / 3600:.2f} h, of {len(records)} corpora and languages to {out}")


def _fingerprint(sizes: MiniConfig, rows: dict[str, list[DatasetRow]]) -> dict[str, str]:
    """What is to be spoken, and everything that decides how a sentence sounds and where it is written."""
    folder = Path(__file__).parent
    languages = {row.language for setting_rows in rows.values() for row in setting_rows}
    sources = [*sorted(folder.glob("texts/*.py")), *(folder / f"texts/{code}.txt" for code in sorted(languages))]
    sources += [folder / name for name in ("corpora.py", "espeak.py", "layouts.py", "plan.py")]
    files = {path.name: path for path in sources}
    return fingerprint(sizes=sizes, rows=rows, espeak=version("espeakng-loader"), **files)


def _refuse_foreign(directory: Path) -> None:
    if directory.exists() and not (directory / ".inputs.json").is_file():
        raise ValueError(f"{directory}: exists, and no mini scale stage 0 made it; move it away or give another --out")


def _tasks(parts: list[Part], roots: dict[str, Path], sizes: MiniConfig):
    speakers: dict[tuple[str, str], int] = defaultdict(int)
    each = sizes.speaker_utts
    for part in parts:
        for start in range(0, len(part.sentences), TASK_SPEAKERS * each):
            chosen = part.sentences[start : start + TASK_SPEAKERS * each]
            first = speakers[part.corpus, part.language]
            speakers[part.corpus, part.language] += -(-len(chosen) // each)
            piece = Part(part.corpus, part.language, part.split, part.kind, chosen)
            yield Task(roots[part.corpus], piece, first, each, sizes.seed)


def _speak_all(tasks: list[Task], nj: int) -> dict[tuple[str, str], list[Record]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    records: dict[tuple[str, str], list[Record]] = defaultdict(list)
    total = sum(len(task.part.sentences) for task in tasks)
    with context.Pool(nj, maxtasksperchild=1) as pool, tqdm(total=total, desc="mini corpora", unit="utt") as progress:
        for task, spoken in zip(tasks, pool.imap(_speak, tasks), strict=True):
            records[task.part.corpus, task.part.language] += spoken
            progress.update(len(spoken))
    return records


def _speak(task: Task) -> list[Record]:
    """Synthesise a task's sentences, speaker by speaker, and write their audio."""
    part = task.part
    espeak, layout = Espeak(), LAYOUTS[part.corpus]
    records = []
    for offset in range(0, len(part.sentences), task.speaker_utts):
        speaker = task.first_speaker + offset // task.speaker_utts
        rng = random.Random(f"{task.seed} {part.corpus} {part.language} {speaker}")
        voice = draw_voice(rng, "test" if part.kind == "test" else "train")
        spoken = [
            Spoken(sentence.written, espeak.say(sentence.spoken, part.language, voice))
            for sentence in part.sentences[offset : offset + task.speaker_utts]
        ]
        records += layout.write_audio(task.root, part.language, part.split, part.kind, speaker, spoken, rng)
    return records


def _write_lists(
    root: Path, sizes: MiniConfig, rows: dict[str, list[DatasetRow]], records: dict[tuple[str, str], list[Record]]
) -> None:
    """The authors' folders and file names; some ids stand twice, as in theirs."""
    for setting, setting_rows in rows.items():
        for row in setting_rows:
            of_kind = defaultdict(list)
            for record in records[row.corpus, row.language]:
                of_kind[record.kind].append(record.id)
            train = of_kind["train"][: train_count(sizes, row, setting, rows)]
            for name, ids in ((row.train_list, train), (row.test_list, of_kind["test"])):
                if name:
                    path = root / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_lines(path, ids + ids[: sizes.repeats])
