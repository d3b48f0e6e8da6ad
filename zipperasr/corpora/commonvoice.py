"""Mozilla Common Voice 18.0 and similar releases.

[cv-corpus-18.0-2024-06-14/]ar/{train,dev,test,validated,other}.tsv, ar/clips/common_voice_ar_24042033.mp3
18.0's header: client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant
locale segment (older releases lack some): columns are found by name. clip_durations.tsv: `clip<TAB>duration[ms]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zipperasr.corpora.utterance import Utterance, require_directory, require_file
from zipperasr.text_lines import check_duration_s, check_id, numbered_lines

COLUMNS = ("client_id", "path", "sentence")
LOCALES = {"zh": "zh-CN", "sv": "sv-SE"}  # directories that are not named by our language code
SPEAKER_CHARACTERS = 16  # of the 128 hex digits of a client_id
REMEDY = "download the language from commonvoice.mozilla.org/datasets and unpack it"


def read(root: Path, language: str, split: str) -> Iterator[Utterance]:
    """Yield the rows of `split`.tsv. The id is the clip's name without suffix, the speaker the start of client_id."""
    folder = language_directory(root, language)
    table = require_file(folder / f"{split}.tsv", REMEDY)
    durations_s = _durations(folder / "clip_durations.tsv")
    lines = numbered_lines(table)
    header = next(lines, (1, ""))[1].split("\t")
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ValueError(f"{table}:1: got columns {header[:12]}, which lack {', '.join(missing)}; {REMEDY}")
    clips = folder / "clips"
    client_at, path_at, sentence_at = (header.index(column) for column in COLUMNS)
    for number, line in lines:
        where = f"{table}:{number}"
        cells = line.split("\t")
        if len(cells) != len(header):
            raise ValueError(f"{where}: got {len(cells)} cells, wanted {len(header)} as in the header; {REMEDY}")
        clip = check_id(cells[path_at], where)
        stem, dot, _ = clip.rpartition(".")
        if not dot:  # releases before 4 omit the suffix
            stem, clip = clip, f"{clip}.mp3"
        speaker = check_id(cells[client_at][:SPEAKER_CHARACTERS], f"{where}: client_id")
        yield Utterance(
            stem, speaker, f"{clips}/{clip}", cells[sentence_at], language,
            duration_s=durations_s.get(clip),
        )  # fmt: skip


def language_directory(root: Path, language: str) -> Path:
    """Return the directory of a language; `root` is the release's directory or its parent."""
    require_directory(root, REMEDY)
    names = [language, LOCALES.get(language, language)]
    for base in [root, *sorted(root.glob("cv-corpus-*"), reverse=True)]:
        for name in names:
            if (base / name).is_dir():
                return base / name
    raise ValueError(f"{root}: contains no directory {' or '.join(dict.fromkeys(names))}; {REMEDY}")


def _durations(table: Path) -> dict[str, float]:
    durations_s = {}
    if table.is_file():
        for number, line in numbered_lines(table):
            clip, _, duration_ms = line.partition("\t")
            if number == 1 and clip == "clip":
                continue
            try:
                durations_s[clip] = check_duration_s(float(duration_ms) / 1000, f"{table}:{number}")
            except ValueError as error:
                raise ValueError(f"{table}:{number}: got {line[:60]!r}, wanted clip<TAB>milliseconds") from error
    return durations_s
