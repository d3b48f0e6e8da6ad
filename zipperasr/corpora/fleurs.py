"""FLEURS, as on Hugging Face (google/fleurs).

[data/]de_de/{train,dev,test}.tsv: `sentence<TAB>file<TAB>raw transcription<TAB>transcription<TAB>characters<TAB>number
of samples<TAB>gender`, without a header. The audio is unpacked from audio/SPLIT.tar.gz to audio/SPLIT/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zipperasr.corpora.utterance import Utterance, require_directory, require_file
from zipperasr.text_lines import check_duration_s, check_id, numbered_lines

DIRECTORIES = {"zh": "cmn_hans_cn", "he": "he_il", "no": "nb_no", "tl": "fil_ph", "jw": "jv_id"}  # others: `de_*`
NUM_COLUMNS = 7
SAMPLE_RATE = 16_000
REMEDY = "download data/LANGUAGE of huggingface.co/datasets/google/fleurs and unpack audio/SPLIT.tar.gz"


def read(root: Path, language: str, split: str) -> Iterator[Utterance]:
    """Yield the split's utterances with the raw transcriptions; FLEURS names no speakers. Raises ValueError."""
    for item in scan(root, language, split):
        if isinstance(item, ValueError):
            raise item
        yield item


def scan(root: Path, language: str, split: str) -> Iterator[Utterance | ValueError]:
    """Yield the split's utterances and, in place of bad lines, the error. Raises ValueError if there is no split."""
    folder = language_directory(root, language)
    table = require_file(folder / f"{split}.tsv", REMEDY)
    for number, line in numbered_lines(table):
        try:
            yield _utterance(line, f"{table}:{number}", f"{folder}/audio/{split}", language)
        except ValueError as error:
            yield error


def _utterance(line: str, where: str, audio: str, language: str) -> Utterance:
    cells = line.split("\t")
    if len(cells) != NUM_COLUMNS:
        raise ValueError(f"{where}: got {len(cells)} cells, wanted {NUM_COLUMNS}; {REMEDY}")
    file = check_id(cells[1], where)
    stem = file.removesuffix(".wav")
    try:
        duration_s = check_duration_s(int(cells[5]) / SAMPLE_RATE, where)
    except ValueError as error:
        raise ValueError(f"{where}: got {cells[5][:40]!r}, wanted a number of samples; {REMEDY}") from error
    return Utterance(stem, stem, f"{audio}/{file}", cells[2], language, duration_s=duration_s)


def language_of(folder: str) -> str:
    """The language code of a language's directory: `de_de` is `de`."""
    return {name: code for code, name in DIRECTORIES.items()}.get(folder, folder.partition("_")[0])


def language_directory(root: Path, language: str) -> Path:
    """The directory of a language, below `root` or its directory `data`."""
    require_directory(root, REMEDY)
    base = root / "data" if (root / "data").is_dir() else root
    name = DIRECTORIES.get(language, f"{language}_*")
    found = sorted(path for path in base.glob(name) if path.is_dir())
    if not found:
        raise ValueError(f"{base}: contains no directory {name}; {REMEDY}")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ValueError(f"{base}: {names} are all {language!r}; move all but one out of this directory")
    return found[0]
