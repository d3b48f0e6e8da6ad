"""A recipe directory after stage 4, with three languages of noise: everything a training reads.

In: an empty directory. Out: exp/backbones, conf, dump/raw, dump/manifest, exp/lid, as stages 0 to 4 write them.
"""

from __future__ import annotations

from pathlib import Path

import soundfile
import yaml

from tests.model import tiny
from zipperasr.cli import log
from zipperasr.datadir.entry import Entry
from zipperasr.datadir.write import write_data_dir
from zipperasr.stages import build_manifest, language_embeddings

WORDS = ("eins", "zwei drei", "uno dos tres", "a", "viele Worte hier")
MODEL = {
    "mel_bins": tiny.MEL_BINS,
    "encoder_lora": {"rank": 4, "alpha": 8},
    "llm_lora": {"rank": 4, "alpha": 8},
    "train_chunk_s": [0.2, 0.4],
    "decode_chunk_s": 0.4,
    "max_positions": 72,
}
TRAIN = {"packs_per_batch": 1, "lr": 1e-3, "precision": "fp32", "log_every": 1, "eval_every": 2, "num_workers": 0}
# set -> kind, phase, language, utterances; ja is in the alignment only
SETS = {
    "train_x_es": ("train", "align", "es", 7),
    "train_x_ja": ("train", "align", "ja", 6),
    "dev_x_es": ("dev", "align", "es", 2),
    "test_x_es": ("test", "align", "es", 2),
    "train_y_de": ("train", "sft", "de", 12),
    "train_y_es": ("train", "sft", "es", 5),
    "dev_y_de": ("dev", "sft", "de", 2),
    "dev_y_es": ("dev", "sft", "es", 2),
    "test_y_de": ("test", "sft", "de", 3),
}


def write_recipe(base: Path) -> Path:
    """Write everything below `base`; returns it."""
    tiny.write_backbones(base / "exp" / "backbones")
    write_conf(base)
    for number, (name, (_, _, language, count)) in enumerate(SETS.items()):
        write_set(base / "dump" / "raw" / name, language, count, seed=100 * number)
    rows = [f"{name}\t{kind}\t{phase}\tx\t{language}" for name, (kind, phase, language, _) in SETS.items()]
    write_lines(base / "dump" / "raw" / "sets.tsv", "set\tkind\tphase\tcorpus\tlanguage", *rows)
    run_main(build_manifest.main, base, raw="dump/raw", out="dump/manifest")
    run_main(language_embeddings.main, base, manifest="dump/manifest", out="exp/lid")
    write_new_language(base)
    log(f"tiny recipe in {base}")
    return base


def write_new_language(base: Path) -> None:
    """Write conf/more.tsv and more/: what stages 0 to 4 write for adding Italian, the only language with data there."""
    table = (base / "conf" / "languages.tsv").read_text(encoding="utf-8")
    write_lines(
        base / "conf" / "more.tsv", f"{table}it\tit\tit\twer\twhisper\tTesto:\nfr\tfr\tfr\twer\twhisper\tTexte:"
    )
    raw, kinds = base / "more" / "raw", {"train": 8, "dev": 2}
    for number, (kind, count) in enumerate(kinds.items()):
        write_set(raw / f"{kind}_z_it", "it", count, seed=5000 + 100 * number)
    rows = [f"{kind}_z_it\t{kind}\tsft\tz\tit" for kind in kinds]
    write_lines(raw / "sets.tsv", "set\tkind\tphase\tcorpus\tlanguage", *rows)
    more = {"languages": "conf/more.tsv"}
    run_main(build_manifest.main, base, raw="more/raw", out="more/manifest", **more)
    run_main(language_embeddings.main, base, manifest="more/manifest", out="more/lid", **more)


def write_conf(base: Path) -> None:
    """Write the language table, model.yaml, align.yaml and sft.yaml."""
    header = "code\twhisper_token\tname\tunit\tnormaliser\tprompt"
    prompts = {"de": "Text", "es": "Texto", "ja": "文"}
    rows = [f"{code}\t{code}\t{code}\twer\twhisper\t{prompt}:" for code, prompt in prompts.items()]
    write_lines(base / "conf" / "languages.tsv", header, *rows)
    backbones = base / "exp" / "backbones"
    model = {"whisper": str(backbones / "whisper"), "llm": str(backbones / "llm"), **MODEL}
    write_lines(base / "conf" / "model.yaml", yaml.safe_dump(model))
    write_lines(base / "conf" / "align.yaml", yaml.safe_dump({"epochs": 1, **TRAIN}))
    write_lines(base / "conf" / "sft.yaml", yaml.safe_dump({"epochs": 2, **TRAIN, "save_every": 2, "lr": 5e-3}))


def write_set(directory: Path, language: str, count: int, seed: int) -> None:
    """Write a data directory of stage 2 with `count` utterances of 0.4 to 1.5 s."""
    entries = []
    for number in range(count):
        utt_id, num_samples = f"s-{language}{seed}-{number:02d}", 6_400 + (number * 7_919 + seed) % 17_000
        path = directory.parent / "audio" / f"{utt_id}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tiny.noise(num_samples, seed + number).numpy(), 16_000)
        entry = Entry(utt_id, "s", str(path), WORDS[number % len(WORDS)], language, num_samples / 16_000)
        entries.append(entry._replace(num_samples=num_samples))
    write_data_dir(directory, entries)


def write_lines(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def options(base: Path, **more: str) -> list[str]:
    """Command-line options for the recipe's model and languages; `more` are paths below `base`."""
    return below(base, **{"model": "conf/model.yaml", "languages": "conf/languages.tsv", **more})


def options_of_new_language(base: Path, **more: str) -> list[str]:
    """Options for the files of `write_new_language`; the model is that of --init_from."""
    paths = {"languages": "conf/more.tsv", "config": "conf/sft.yaml", "manifest": "more/manifest", "lid": "more/lid"}
    return ["--phase", "sft", *below(base, **{**paths, **more})]


def below(base: Path, **paths: str) -> list[str]:
    return [text for key, value in paths.items() for text in (f"--{key}", str(base / value))]


def run_main(main, base: Path, **paths: str) -> None:
    """Run a stage that must succeed."""
    if main(options(base, **paths)) != 0:
        raise RuntimeError(f"{main.__module__} failed; see the error above")
