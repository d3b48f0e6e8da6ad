"""What is fuzzed: every kind of file that the toolkit reads, and how a command reads it.

Input: an empty directory. Output: `Target`s, each with valid files in its own directory. `read` may raise ValueError or
OSError, which commands print as one line; any other exception is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from tests.corpora import example, own_data_example
from tests.fuzz.mutate import mutate_binary, mutate_text, mutate_tree
from zipperasr.audio.ark import read_vector, read_vectors
from zipperasr.audio.convert import Chunk, convert_chunk
from zipperasr.audio.load import load_audio
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.corpora import read_corpus
from zipperasr.corpora.audio_tables import entry_of
from zipperasr.corpora.huggingface import FORMAT
from zipperasr.datadir.arrow_blocks import blocks
from zipperasr.datadir.entry import Entry, key_and_value, read_table
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.set_table import SetRow, read_sets, write_sets
from zipperasr.datadir.validate import validate_data_dir
from zipperasr.datadir.write import write_data_dir
from zipperasr.languages import LanguageTable
from zipperasr.prepare.dataset_table import load_corpora, load_datasets
from zipperasr.prepare.utterance_lists import read_list
from zipperasr.text_lines import numbered_lines

RECIPE = Path(__file__).resolve().parents[2] / "egs2/zipper12/asr1"
TIMES = [(0.5, 2.0), (3.0, 5.25)]
TABLES = ("text", "utt2spk", "spk2utt", "utt2lang", "utt2dur", "utt2repeat", "wav.scp", "segments")


@dataclass(frozen=True)
class Target:
    """The files of one reader, which are mutated one at a time."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[], None]
    mutate: Callable[[bytes, Random], bytes] = mutate_text


def mls(base: Path) -> Path:
    return example.write_mls(base, {"train": ["1_2_3", "1_2_4"]}) / "mls_german/train"


def common_voice(base: Path) -> Path:
    example.write_common_voice(base, {"train": [("ab" * 20, "c_1.mp3", "Ein Satz."), ("cd" * 20, "c_2.mp3", "مرحبا")]})
    example.write_text(base / "ar/clip_durations.tsv", "clip\tduration[ms]", "c_1.mp3\t1500", "c_2.mp3\t2500")
    return base / "ar"


def librispeech(base: Path) -> Path:
    return example.write_librispeech(base, {"dev-clean": ["1-2-3", "1-2-4"]}) / "LibriSpeech/dev-clean/1/2"


def recordings(base: Path, name: str, **extra: object) -> Path:
    audios = [example.recording("Y1", "audio/Y1.opus", TIMES, **extra), example.recording("Y2", "audio/Y2.opus", TIMES)]
    return example.write_recordings(base / name, audios).parent


def msr86k_lines(base: Path) -> Path:
    example.write_text(
        base / "ru/dev.jsonl",
        '{"id": "v1_0", "audio": "wav/v1_0.wav", "text": "да", "duration": 1.5}',
        '{"id": "v1_1", "audio": "wav/v1_1.wav", "text": "нет", "duration": 2}',
    )
    return base / "ru"


def msr86k_table(base: Path) -> Path:
    example.write_text(
        base / "ru/dev.tsv", "id\tpath\tsentence\tdur", "v1_0\tv1_0.wav\tда\t1.5", "v1_1\tv1_1.wav\tнет\t2"
    )
    return base / "ru"


def msr86k_kaldi(base: Path) -> Path:
    example.write_text(base / "ru/dev/text", "v1_0 да", "v1_1 нет")
    example.write_text(base / "ru/dev/wav.scp", "v1_0 wav/v1_0.wav", "v1_1 wav/v1_1.wav")
    return base / "ru/dev"


def wenetspeech(base: Path) -> Path:
    return recordings(base, "WenetSpeech.json", subsets=["L"])


def own_data(name: str, base: Path) -> Path:
    own_data_example.write_audio(base)
    return (own_data_example.WRITERS | own_data_example.EMBEDDED)[name][1](base, "train").parent


# how a valid corpus is written, the files to mutate, and how it is read
CORPORA: dict[str, tuple[Callable[[Path], Path], str, tuple[str, str, str]]] = {
    "mls transcripts": (mls, "transcripts.txt", ("mls", "de", "train")),
    "mls segments": (mls, "segments.txt", ("mls", "de", "train")),
    "commonvoice table": (common_voice, "train.tsv", ("commonvoice", "ar", "train")),
    "commonvoice durations": (common_voice, "clip_durations.tsv", ("commonvoice", "ar", "train")),
    "librispeech": (librispeech, "1-2.trans.txt", ("librispeech", "en", "dev-clean")),
    "wenetspeech": (wenetspeech, "WenetSpeech.json", ("wenetspeech", "zh", "L")),
    "msr86k json": (lambda base: recordings(base / "ru", "dev.json"), "dev.json", ("msr86k", "ru", "dev")),
    "msr86k lines": (msr86k_lines, "dev.jsonl", ("msr86k", "ru", "dev")),
    "msr86k table": (msr86k_table, "dev.tsv", ("msr86k", "ru", "dev")),
    "msr86k text": (msr86k_kaldi, "text", ("msr86k", "ru", "dev")),
    "msr86k wav.scp": (msr86k_kaldi, "wav.scp", ("msr86k", "ru", "dev")),
    "own jsonl": (partial(own_data, "jsonl"), "train.jsonl", ("jsonl", "de", "train")),
    "own csv": (partial(own_data, "csv"), "train.csv", ("csv", "de", "train")),
    "own tsv": (partial(own_data, "tsv"), "train.tsv", ("csv", "de", "train")),
    "own parquet": (partial(own_data, "parquet"), "train.parquet", ("huggingface", "de", "train")),
    "own data set": (partial(own_data, "save_to_disk"), "train/state.json", ("huggingface", "de", "train")),
    "own cuts": (partial(own_data, "lhotse plain"), "train.jsonl", ("lhotse", "de", "train")),
    **{
        f"own data directory: {table}": (partial(own_data, "kaldi"), table, ("kaldi", "de", "train"))
        for table in ("text", "wav.scp", "segments", "utt2lang", "utt2spk")
    },
}
OWN = ("jsonl", "csv", "lhotse", "kaldi", "huggingface")  # may name any file


def text_makers() -> dict[str, Callable[[Path], Target]]:
    """Factories of targets for text files: corpora, data directories, lists, tables and configuration."""
    return {
        **{name: partial(_corpus_target, name) for name in CORPORA},
        **{f"data directory: {name}": partial(_data_dir_target, name) for name in TABLES},
        **{f"table: {name}": partial(_table_target, name) for name in TABLES},
        **{name: partial(_recipe_target, name) for name in _recipe_readers()},
        "utterance list": _list_target,
        "sets.tsv": _sets_target,
        "--train_args": _arguments_target,
        "sclite: trn": _trn_target,
        "stage 8: test set": _test_set_target,
        "stage 8: hypotheses": _hypotheses_target,
    }


def text_targets(base: Path) -> Iterator[Target]:
    for number, make in enumerate(text_makers().values()):
        (base / str(number)).mkdir()
        yield make(base / str(number))


def _corpus_target(name: str, base: Path) -> Target:
    write, file, how = CORPORA[name]
    path = write(base) / file
    return Target(name, (path,), lambda: _corpus(base, *how), mutate_tree if path.suffix == ".json" else mutate_text)


def _entries() -> list[Entry]:
    return [Entry(f"s1-{n}", "s1", "a.flac", "guten tag", "de", 1.0, 1, float(n), n + 1.0) for n in range(3)]


def _data_dir_target(name: str, base: Path) -> Target:
    write_data_dir(base / "data", _entries())
    return Target(f"data directory: {name}", (base / "data" / name,), lambda: _data_dir(base / "data"))


def _table_target(name: str, base: Path) -> Target:
    write_data_dir(base / "data", _entries())
    return Target(f"table: {name}", (base / "data" / name,), lambda: _table(base / "data" / name))


def _list_target(base: Path) -> Target:
    path = example.write_text(base / "list.txt", "a_1", "b_2", "b_2")
    return Target("utterance list", (path,), lambda: read_list(path))


def _sets_target(base: Path) -> Target:
    path = base / "sets.tsv"
    write_sets(path, [SetRow("train_mls_de", "train", "sft", "mls", "de")])
    return Target("sets.tsv", (path,), lambda: read_sets(path))


def _corpus(base: Path, corpus: str, language: str, split: str) -> None:
    """Whatever a reader yields can be written as a data directory."""
    for utterance in read_corpus(corpus, base, language, split):
        assert utterance.id and not set(utterance.id) & set(" \t\n/")
        assert utterance.speaker and not set(utterance.speaker) & set(" \t\n/")
        assert "\n" not in utterance.audio and (corpus in OWN or ".." not in Path(utterance.audio).parts)
        for seconds in (utterance.duration_s, utterance.start_s, utterance.end_s):
            assert seconds is None or 0 <= seconds < float("inf")


def _data_dir(directory: Path) -> None:
    """There are as many utterances as lines."""
    validate_data_dir(directory)
    assert len(read_data_dir(directory)) == sum(1 for _ in numbered_lines(directory / "text"))


def _table(path: Path) -> None:
    """Reading in blocks gives the same rows as reading line by line, as many as there are lines."""
    found = list(blocks(path, 64))
    rows = [row for block in found for row in zip(block.keys.to_pylist(), block.values.to_pylist(), strict=True)]
    assert rows == [key_and_value(line) for _, line in numbered_lines(path)]
    assert len(read_table(path, may_be_empty=True)) == len(rows)


SETTINGS = ("model", "align", "sft", "decode")


def _recipe_readers() -> dict[str, Callable[[Path], object]]:
    """Files in conf/ and their readers."""
    return {
        "languages.tsv": LanguageTable.load,
        "datasets.tsv": lambda path: load_datasets(path, "1h", LanguageTable.load(RECIPE / "conf/languages.tsv")),
        "mini/corpora.yaml": load_corpora,
        **{f"{scale}/{name}.yaml": partial(_settings, name) for scale in ("mini", "full") for name in SETTINGS},
    }


def _recipe_target(name: str, base: Path) -> Target:
    path = base / Path(name).name
    path.write_bytes((RECIPE / "conf" / name).read_bytes())
    mutate = mutate_tree if path.suffix == ".yaml" else mutate_text
    return Target(name, (path,), lambda: _recipe_readers()[name](path), mutate)


def _settings(name: str, path: Path, arguments: Sequence[str] = ()) -> object:
    from zipperasr.decode.decode_config import DecodeConfig
    from zipperasr.model.model_config import ModelConfig
    from zipperasr.train.train_config import TrainConfig

    kind = {"model": ModelConfig, "decode": DecodeConfig}.get(name, TrainConfig)
    return load_yaml(kind, path, parse_overrides(list(arguments), "--train_args"))


def _arguments_target(base: Path) -> Target:
    path = example.write_text(base / "arguments", "lr=1e-3 epochs=2 packs_per_batch=4 weight_decay=0.1")

    def read() -> None:
        words = path.read_bytes().decode("utf-8", errors="surrogateescape").split(" ")
        _settings("sft", RECIPE / "conf/mini/sft.yaml", words)

    return Target("--train_args", (path,), read)


def _trn_target(base: Path) -> Target:
    from zipperasr.score.sclite import __main__ as sclite
    from zipperasr.score.sclite.options import read_options, sclite_parser

    lines = [f"guten {{ tag / abend / @ }} (%hesi) wel- welt (s{n % 2}-{n})" for n in range(4)]
    ref, hyp = (example.write_text(base / f"{side}.trn", *lines) for side in ("ref", "hyp"))
    options = sclite_parser(None).parse_args(["-r", str(ref), "-h", str(hyp), "-i", "rm", "-o", "all", "-O", str(base)])
    return Target("sclite: trn", (ref, hyp), lambda: sclite.score(read_options(options)))


def _test_set_target(base: Path) -> Target:
    from zipperasr.score.transcripts import load_test_set

    write_data_dir(base / "test", _entries())
    files = tuple(base / "test" / name for name in ("text", "utt2spk", "utt2lang", "utt2repeat"))
    return Target("stage 8: test set", files, lambda: load_test_set(base, SetRow("test", "test", "sft", "mls", "de")))


def _hypotheses_target(base: Path) -> Target:
    from zipperasr.score.transcripts import load_hypotheses, load_test_set

    write_data_dir(base / "test", _entries())
    test_set = load_test_set(base, SetRow("test", "test", "sft", "mls", "de"))
    path = example.write_text(base / "hyp/text", "s1-0 guten tag", "s1-1", "s1-2 ein")
    return Target("stage 8: hypotheses", (path,), lambda: load_hypotheses(path, test_set))


def binary_targets(base: Path) -> Iterator[Target]:
    """Targets for arks and audio files."""
    import kaldiio
    import numpy as np

    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = base / f"noise.{suffix}"
        example.write_noise(path, 0.3)
        yield Target(f"audio: {suffix}", (path,), lambda path=path: load_audio(path), mutate_binary)
        yield Target(f"stage 2: {suffix}", (path,), lambda path=path: _stage_2(base, path), mutate_binary)
        yield Target(f"audio in blocks: {suffix}", (path,), lambda path=path: _blocks(path), mutate_binary)
    ark, scp = base / "vectors.ark", base / "vectors.scp"
    kaldiio.save_ark(str(ark), {"a": np.ones(4, "float32"), "b": np.ones(4, "float32")}, scp=str(scp))
    yield Target("vectors.ark", (ark,), lambda: list(read_vectors(ark)), mutate_binary)
    yield Target("vectors.scp", (scp,), lambda: [read_vector(entry, str(scp)) for entry in read_table(scp).values()])
    wav = (base / "noise.wav").read_bytes()
    audio = base / "audio.ark"
    audio.write_bytes(b"u1 AUDIO\4" + len(wav).to_bytes(4, "little") + wav)
    yield Target("audio.ark", (audio,), lambda: load_audio(f"{audio}:3"), mutate_binary)
    for name in ("x.parquet", "x/data-00000-of-00001.arrow"):
        yield _audio_table_target(base / "tables", name)


def _audio_table_target(base: Path, name: str) -> Target:
    """A table is listed, and the audio of every row is opened."""
    example.write_text(base / "x/state.json", f'{{"_data_files": [{{"filename": "{Path(name).name}"}}]}}')
    example.write_noise(base / "noise.flac", 0.1)
    audio, texts, languages = (base / "noise.flac").read_bytes(), ["guten", "tag", "ja"], ["de", "es", "de"]
    path = example.write_audio_table(base / name, audio, None, audio, row_group_size=2, text=texts, lang=languages)

    def read() -> None:
        found = FORMAT.scan(Path(path) if name.endswith(".parquet") else base / "x")
        errors = [str(item) for item in found if isinstance(item, ValueError)]
        for row in range(3):
            try:
                load_audio(entry_of(path, row))
            except ValueError as error:
                errors.append(str(error))
        for error in errors:
            assert str(base) in error, error

    return Target(f"table of audio: {name}", (Path(path),), read, mutate_binary)


def _stage_2(base: Path, audio: Path) -> None:
    """Every utterance is either written or quarantined."""
    entries = [Entry(f"s1-{n}", "s1", str(audio), "guten tag", "de", 0.1, 1, n / 10, (n + 1) / 10) for n in range(3)]
    for stale in base.glob("format.*"):
        stale.unlink()
    result = convert_chunk(Chunk(str(base / "format.1"), "flac.ark", tuple(entries)))
    assert len(result.written) + len(result.quarantined) == len(entries)


def _blocks(path: Path) -> None:
    from zipperasr.transcribe.sources import decoded_blocks

    for _ in decoded_blocks(path, str(path)):
        pass


def model_targets(base: Path) -> Iterator[Target]:
    """Targets for trainings, bundles, backbones, adapters and foreign checkpoints of a tiny model."""
    import torch

    from tests.fuzz.tiny_models import write_models
    from zipperasr.exchange.bundle import unpack_bundle
    from zipperasr.exchange.foreign import open_checkpoint
    from zipperasr.exchange.key_map import DEFAULT, load_key_map, map_names
    from zipperasr.exchange.peft_import import read_adapter, start_from
    from zipperasr.exchange.pretrained import load_pretrained
    from zipperasr.lid.embeddings import language_token_ids
    from zipperasr.model.experiment import Experiment, located
    from zipperasr.model.experiment_model import build_for_training, load_model

    made, backbones = write_models(base), base / "exp/backbones"
    plain = Experiment.load(made.vanilla)

    def import_adapter() -> None:
        model = build_for_training(located(plain, made.vanilla), torch.float32, seed=1)
        start_from(model, read_adapter(made.adapter), "copy", partial=False)

    def import_checkpoint(path: Path) -> None:
        entries = open_checkpoint(path)
        map_names(load_key_map(DEFAULT), entries)
        for entry in entries.values():
            entry.load()

    def open_model() -> None:
        load_pretrained(made.routed)
        language_token_ids(str(backbones / "whisper"), LanguageTable.load(made.routed / "languages.tsv"))

    def unpack() -> None:
        unpack_bundle(made.bundle, base / "unpacked")

    training = made.routed
    trees = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    for part in ("whisper", "llm"):
        for name in (name for name in trees if (backbones / part / name).is_file()):
            yield Target(f"{part}: {name}", (backbones / part / name,), open_model, mutate_tree)
        weights = backbones / part / "model.safetensors"
        yield Target(f"{part}: weights", (weights,), lambda: load_model(training), mutate_binary)
    yield Target("training: config.yaml", (training / "config.yaml",), lambda: load_pretrained(training), mutate_tree)
    yield Target("training: languages.tsv", (training / "languages.tsv",), lambda: load_pretrained(training))
    weights = (training / "model.safetensors", made.align / "model.safetensors")
    yield Target("training: weights", weights, lambda: load_model(training), mutate_binary)
    yield from _added_targets(training)
    yield Target("bundle", (made.bundle,), unpack, mutate_binary)
    yield Target("adapter_config.json", (made.adapter / "adapter_config.json",), import_adapter, mutate_tree)
    yield Target("adapter weights", (made.adapter / "adapter_model.safetensors",), import_adapter, mutate_binary)
    for path in made.checkpoints:
        mutate = mutate_tree if path.suffix == ".json" else mutate_binary
        yield Target(f"checkpoint: {path.name}", (path,), lambda path=path: import_checkpoint(path), mutate)
    table = base / "key_map.tsv"
    table.write_bytes(DEFAULT.read_bytes())
    names = list(open_checkpoint(made.checkpoints[0]))
    yield Target("key_map.tsv", (table,), lambda: map_names(load_key_map(table), names))


def _added_targets(training: Path) -> Iterator[Target]:
    """Files that are added to a finished training: its aligner and its calibration."""
    import torch
    import yaml

    from tests.model import tiny
    from zipperasr.align.aligner import CONFIG, WEIGHTS, Aligner
    from zipperasr.align.spotting import find_spots
    from zipperasr.atomic import fingerprint
    from zipperasr.transcribe.calibration import FILE, Calibration

    frames = torch.randn(20, tiny.D_ENCODER, generator=torch.Generator().manual_seed(1))

    def align() -> None:
        aligner = Aligner.load(training)
        times = aligner.times(frames, ["abc", "d"])
        assert times is not None and all(0 <= start_s <= end_s <= 0.4 for start_s, end_s in times)
        find_spots(aligner.relative_scores(frames), [aligner.labels("abc")], [100.0])

    def align_with_matching_digest() -> None:
        path = training / CONFIG
        before = path.read_text("utf-8")
        path.write_text(yaml.safe_dump(yaml.safe_load(before) | fingerprint(weights=training / WEIGHTS)), "utf-8")
        try:
            align()
        finally:
            path.write_text(before, "utf-8")

    def calibrate() -> None:
        assert all(0 <= Calibration.load(training)(confidence) <= 1 for confidence in (0.0, 0.5, 1.0))

    yield Target("aligner: configuration", (training / CONFIG,), align, mutate_tree)
    yield Target("aligner: weights", (training / WEIGHTS,), align_with_matching_digest, mutate_binary)
    yield Target("confidence.json", (training / FILE,), calibrate, mutate_tree)


def all_targets(base: Path) -> Iterator[Target]:
    """All targets, created on demand."""
    from tests.fuzz.server import server_targets

    for kind in (text_targets, binary_targets, model_targets, server_targets):
        (base / kind.__name__).mkdir(parents=True, exist_ok=True)
        yield from kind(base / kind.__name__)
