"""Pack the results of finished trainings into one small file, and unpack them where they were not trained.

In: an experiment directory. Out: a tar.xz with records, logs and hypotheses, and what the report reads from weights and
encoder outputs; neither of these themselves. Equal results give equal bytes. A loaded training has no model.safetensors
and is scored again (stage 8), so its error rates follow from the published hypotheses.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from zipperasr.atomic import atomic_path
from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.model.experiment import CONFIG, WEIGHTS
from zipperasr.report.cluster_statistics import SILHOUETTES, save_silhouettes
from zipperasr.report.collect import find_decodings, find_trainings
from zipperasr.report.weight_facts import FACTS, save_facts
from zipperasr.run_record import NAME as RECORD

OF_TRAINING = (RECORD, CONFIG, "train.jsonl", "dev.jsonl", "router.jsonl", "router_final.json", FACTS)
OF_DECODING = (RECORD, SILHOUETTES)
OF_TEST_SET = ("text", "rtf.json")
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
MAX_MEMBERS, MAX_BYTES = 100_000, 256 << 20  # unpacked; a matrix of 50 trainings has 2,000 files and 20 MB


def is_loaded(directory: Path) -> bool:
    """True if the training in `directory` has results but no weights."""
    return (
        (directory / RECORD).is_file()
        and not (directory / WEIGHTS).exists()
        and any(directory.glob(f"decode_*/*/{OF_TEST_SET[0]}"))
    )


def save_cells(exp: Path, archive: Path, languages: Path = Path("conf/languages.tsv")) -> None:
    """Write the results of every scored training below `exp`."""
    table = LanguageTable.load(languages)
    for training in find_trainings(exp):
        save_facts(training)
    decodings = find_decodings(exp)
    for decoding in decodings:
        save_silhouettes(decoding, table)
    trainings = sorted({decoding.model.directory for decoding in decodings})
    with (
        atomic_path(archive) as temporary,
        lzma.open(temporary, "wb", preset=9 | lzma.PRESET_EXTREME) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in (path for training in trainings for path in _results(training)):
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(exp).as_posix())  # no owner, no time
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    log(f"{archive}: {len(trainings)} trainings, {archive.stat().st_size:,} bytes")


def load_cells(archive: Path, exp: Path) -> None:
    """Unpack what is not below `exp` yet. Raises FileNotFoundError, or ValueError for a file of another kind."""
    trainings: dict[str, dict[str, bytes]] = {}
    for name, content in _read(archive):
        training, _, file = name.partition("/")
        if not _is_result(name):
            raise ValueError(f"{archive}: {name!r:.100}: not the results of a training; nothing was unpacked")
        trainings.setdefault(training, {})[file] = content
    kept = [name for name in trainings if (exp / name).exists()]
    for name, files in trainings.items():
        if name in kept:
            texts = [file for file in files if file.endswith(f"/{OF_TEST_SET[0]}") and (exp / name / file).is_file()]
            if any((exp / name / file).read_bytes() != files[file] for file in texts):
                log(f"{exp / name}: kept, but its hypotheses are not those of {archive}: another training")
            continue
        with atomic_path(exp / name) as temporary:
            for file, content in files.items():
                (temporary / file).parent.mkdir(parents=True, exist_ok=True)
                (temporary / file).write_bytes(content)
    already = f"; already there: {', '.join(kept)}" if kept else ""
    log(f"{archive}: loaded {len(trainings) - len(kept)} trainings into {exp}{already}")


def _results(training: Path) -> Iterator[Path]:
    """The files of a training that are saved, in a fixed order."""
    yield from (training / name for name in OF_TRAINING if (training / name).is_file())
    for decoding in sorted(training.glob("decode_*/")):
        yield from (decoding / name for name in OF_DECODING if (decoding / name).is_file())
        for text in sorted(decoding.glob(f"*/{OF_TEST_SET[0]}")):
            yield from (text.with_name(name) for name in OF_TEST_SET if text.with_name(name).is_file())


def _is_result(name: str) -> bool:
    """True for the path of a file that `save_cells` writes."""
    parts = name.split("/")
    wanted = {2: OF_TRAINING, 3: OF_DECODING, 4: OF_TEST_SET}.get(len(parts), ())
    return parts[-1] in wanted and all(map(_NAME.fullmatch, parts))


def _read(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive's members, which are bounded in number and size and regular files only."""
    members = total = 0
    try:
        with tarfile.open(archive, "r|xz") as tar:
            for member in tar:
                members, total = members + 1, total + member.size
                if members > MAX_MEMBERS or total > MAX_BYTES:
                    raise ValueError(f"{archive}: more than {MAX_MEMBERS:,} files or {MAX_BYTES:,} bytes when unpacked")
                if not member.isreg():
                    raise ValueError(f"{archive}: {member.name!r:.100}: got a link or directory, wanted files only")
                yield member.name, tar.extractfile(member).read()
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{archive}: not a complete tar.xz ({error}); fetch the file again") from error
