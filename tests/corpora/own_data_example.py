"""The same three utterances, listed in every format of own data."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from tests.corpora.example import write_noise, write_text
from zipperasr.corpora.utterance import Utterance

SECONDS = 2.0  # of each recording
ROWS = [  # id, speaker, recording, start, text, language
    ("a1", "ana", "wav/one.flac", None, "Guten Tag, Ämter", "de"),
    ("a2", "ana", "wav/two.wav", 0.5, 'sagte er: "nein"', "de"),
    ("b1", "bob", "wav/three.flac", None, "buenos días", "es"),
]
CUT_S = 1.25  # duration of the utterances that have a start


def expected(root: Path, split: str) -> list[Utterance]:
    found = []
    for utt_id, speaker, audio, start, text, lang in ROWS:
        duration = SECONDS if start is None else CUT_S
        end = None if start is None else start + CUT_S
        path = str(root.resolve() / audio)
        found.append(Utterance(f"{split}_{utt_id}", speaker, path, text, lang, start, end, duration))
    return found


def write_audio(root: Path) -> None:
    for number, row in enumerate(ROWS):
        write_noise(root / row[2], SECONDS, rate=(16_000, 8_000, 44_100)[number], seed=number)


def objects(split: str) -> list[dict]:
    """The rows with the field names of a NeMo manifest; ids differ between splits."""
    return [
        {
            "id": f"{split}_{utt_id}", "speaker": speaker, "audio_filepath": audio, "text": text, "lang": lang,
            **({"duration": SECONDS} if start is None else {"offset": start, "duration": CUT_S}),
        }
        for utt_id, speaker, audio, start, text, lang in ROWS
    ]  # fmt: skip


def write_jsonl(root: Path, split: str) -> Path:
    return write_text(root / f"{split}.jsonl", *(json.dumps(row, ensure_ascii=False) for row in objects(split)))


def write_csv(root: Path, split: str) -> Path:
    path = root / f"{split}.csv"
    columns = ["id", "speaker", "audio_filepath", "text", "lang", "offset", "duration"]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(objects(split))
    return path


def write_tsv(root: Path, split: str) -> Path:
    columns = ["path", "sentence", "locale", "client_id", "utt_id", "start", "duration"]
    lines = [
        "\t".join(
            (
                audio,
                text,
                lang,
                speaker,
                f"{split}_{utt_id}",
                "" if start is None else str(start),
                str(CUT_S if start else SECONDS),
            )
        )
        for utt_id, speaker, audio, start, text, lang in ROWS
    ]
    return write_text(root / f"{split}.tsv", "\t".join(columns), *lines)


def write_kaldi(root: Path, split: str) -> Path:
    """A data directory of stage 1, whose ids have the speaker before them."""
    folder = root / split
    recordings = [f"{Path(row[2]).stem} {row[2]}" for row in ROWS]
    times = [(row[3] or 0.0, SECONDS if row[3] is None else row[3] + CUT_S) for row in ROWS]
    utts = [f"{row[1]}-{split}_{row[0]}" for row in ROWS]
    write_text(folder / "wav.scp", *recordings)
    write_text(
        folder / "segments",
        *(f"{utt} {Path(row[2]).stem} {start} {end}" for utt, row, (start, end) in zip(utts, ROWS, times, strict=True)),
    )
    for table, place in (("text", 4), ("utt2spk", 1), ("utt2lang", 5)):
        write_text(folder / table, *(f"{utt} {row[place]}" for utt, row in zip(utts, ROWS, strict=True)))
    write_text(folder / "utt2repeat", *(f"{utt} 1" for utt in utts))
    return folder / "text"


def cuts(root: Path, split: str) -> CutSet:
    found = []
    for utt_id, speaker, audio, start, text, lang in ROWS:
        recording = Recording.from_file(root / audio)
        recording.sources = [AudioSource("file", [0], audio)]  # relative, as one would publish them
        duration = SECONDS if start is None else CUT_S
        supervision = SupervisionSegment(
            f"{split}_{utt_id}", recording.id, 0.0, duration, text=text, language=lang, speaker=speaker
        )
        found.append(MonoCut(f"cut-{utt_id}", start or 0.0, duration, 0, [supervision], recording=recording))
    return CutSet.from_cuts(found)


def write_lhotse(root: Path, split: str) -> Path:
    path = root / f"{split}.jsonl.gz"
    cuts(root, split).to_file(path)
    return path


def write_lhotse_plain(root: Path, split: str) -> Path:
    path = root / f"{split}.jsonl"
    cuts(root, split).to_file(path)
    return path


def dataset(root: Path, split: str, embed: bool, label: bool = False):
    """The rows as a Dataset of Hugging Face; the language is text or a label."""
    from datasets import Audio, ClassLabel, Dataset

    rows = []
    for row in objects(split):
        path = row.pop("audio_filepath")
        audio = {"bytes": (root / path).read_bytes(), "path": Path(path).name} if embed else path
        rows.append(row | {"audio": audio, "offset": row.get("offset")})
    found = Dataset.from_list(rows)
    found = found.cast_column("audio", Audio()) if embed else found
    return found.cast_column("lang", ClassLabel(names=["es", "de"])) if label else found


def write_parquet(root: Path, split: str) -> Path:
    """A data set whose audio column has paths."""
    path = root / f"{split}.parquet"
    dataset(root, split, embed=False).to_parquet(path)
    return path


def write_saved(root: Path, split: str) -> Path:
    """A directory of save_to_disk with audio and two files."""
    dataset(root, split, embed=True, label=True).save_to_disk(root / split, num_shards=2)
    return root / split


def write_parquet_shards(root: Path, split: str) -> Path:
    """Parquet with audio, as on the hub."""
    found = dataset(root, split, embed=True)
    for number in range(2):
        path = root / f"data/{split}-{number:05d}-of-00002.parquet"
        path.parent.mkdir(exist_ok=True)
        found.shard(2, number, contiguous=True).to_parquet(path, batch_size=1)
    return root / f"data/{split}-00000-of-00002.parquet"


WRITERS: dict[str, tuple[str, Callable[[Path, str], Path]]] = {  # name -> (reader, writer of a split)
    "jsonl": ("jsonl", write_jsonl),
    "csv": ("csv", write_csv),
    "tsv": ("csv", write_tsv),
    "kaldi": ("kaldi", write_kaldi),
    "lhotse": ("lhotse", write_lhotse),
    "lhotse plain": ("lhotse", write_lhotse_plain),
    "parquet": ("huggingface", write_parquet),
}
EMBEDDED = {  # the audio is in the list
    "save_to_disk": ("huggingface", write_saved),
    "parquet shards": ("huggingface", write_parquet_shards),
}
