"""Stage 7: which test sets are decoded, and the content of the decoding directory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.feather as feather
import pytest
import soundfile

from tests.model import tiny
from zipperasr.batching.manifest import SCHEMA
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.decode.decode_experiment import DecodingTask, sets_to_decode
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment
from zipperasr.model.model_config import ModelConfig
from zipperasr.run_record import DecodingRun, load_run
from zipperasr.stages.decode import main

ROWS = [("en", "align"), ("de", "sft"), ("es", "sft"), ("sw", "sft")]


@pytest.fixture
def chosen(tmp_path):
    """The names of the test sets for a phase, the languages of the model and options."""
    rows = [SetRow(f"test_x_{code}", "test", phase, "x", code) for code, phase in ROWS]
    rows.append(SetRow("train_x_de", "train", "sft", "x", "de"))
    write_sets(tmp_path / "sets.tsv", rows)
    for row in rows:
        feather.write_feather(SCHEMA.empty_table(), tmp_path / f"{row.set}.arrow")

    def run(phase: str = "sft", lang=(), sets=None, alignment_sets="own") -> list[str]:
        experiment = Experiment(phase, "chunked", None, None, ("en", "de", "es"), 1, ModelConfig("whisper", "llm"))
        which = {"sets": sets, "lang": tuple(lang), "alignment_sets": alignment_sets}
        task = DecodingTask(tmp_path, tmp_path / "languages.tsv", **which)
        return [manifest.name for manifest in sets_to_decode(experiment, task)]

    return run


def test_an_alignment_decodes_the_sets_of_its_phase(chosen):
    assert chosen("align") == ["test_x_en"]


def test_an_alignment_decodes_the_sets_of_the_adaptation_if_asked_to(chosen):
    assert chosen("align", alignment_sets="all") == chosen()


def test_an_adapted_model_decodes_all_its_languages(chosen):
    assert chosen() == ["test_x_en", "test_x_de", "test_x_es"]


def test_languages_and_sets_can_be_chosen(chosen):
    assert chosen(lang=["es", "de"]) == ["test_x_de", "test_x_es"]
    assert chosen(sets=["test_x_en"]) == ["test_x_en"]


@pytest.mark.parametrize("code", ["sw", "fr"])
def test_a_requested_language_without_a_test_set_is_an_error(chosen, code):
    with pytest.raises(ValueError, match=f"sets.tsv: no test set in {code} that the model knows; write its line"):
        chosen(lang=["de", code])


def test_a_second_decoding_of_a_test_set_fails_before_it_writes(chosen, tmp_path, capsys, held_elsewhere):
    chosen()
    write = {
        "conf/decode.yaml": "beam: 1\n",
        "conf/languages.tsv": "code\twhisper_token\tname\tunit\tnormaliser\tprompt\nde\tde\tde\twer\twhisper\tText:\n",
        "exp/model.safetensors": "",
    }
    for name, text in write.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    Experiment("sft", "chunked", "zipper_soft", None, ("de",), 1, ModelConfig("whisper", "llm")).save(tmp_path / "exp")
    message = held_elsewhere(tmp_path / "exp" / "decode_greedy_chunked" / "test_x_de")
    paths = {"exp": "exp", "manifest": ".", "config": "conf/decode.yaml", "languages": "conf/languages.tsv"}
    assert main([word for key, path in paths.items() for word in (f"--{key}", str(tmp_path / path))]) == 1
    assert message in capsys.readouterr().err


@pytest.fixture
def argv(backbones, tmp_path) -> list[str]:
    """Options of stage 7 for a tiny alignment and a test set of one utterance."""
    config = tiny.model_config(backbones)
    Experiment("align", "chunked", None, None, tiny.CODES, 1, config).save(tmp_path / "exp")
    save_trained(tiny.align_model(config), tmp_path / "exp" / "model.safetensors")
    write_sets(tmp_path / "sets.tsv", [SetRow("test_x_de", "test", "align", "x", "de")])
    soundfile.write(tmp_path / "a.wav", tiny.noise(8000, seed=1).numpy(), 16_000)
    row = {"utt_id": "s-a", "language": "de", "audio": str(tmp_path / "a.wav"), "text": "ein", "num_samples": 8000}
    row |= {"num_tokens": 4, "repeat": 1, "positions": 20}
    feather.write_feather(pa.Table.from_pylist([row], SCHEMA), tmp_path / "test_x_de.arrow")
    (tmp_path / "decode.yaml").write_text("tokens_per_s: 4.0\ntokens_floor: 1\n", encoding="utf-8")
    paths = {"exp": tmp_path / "exp", "manifest": tmp_path, "config": tmp_path / "decode.yaml"}
    paths |= {"languages": tiny.TABLE_PATH}
    return [word for name, path in paths.items() for word in (f"--{name}", str(path))]


def test_a_decoding_directory_records_its_search_regime_and_tag(argv, tmp_path):
    assert main(argv) == 0
    plain = tmp_path / "exp" / "decode_greedy_chunked"
    run = load_run(DecodingRun, plain)
    assert (run.search, run.regime, run.tag) == ("greedy", "chunked", "")
    assert run.versions["torch"]
    assert (plain / "test_x_de" / "text").read_text(encoding="utf-8").startswith("s-a")
    assert main([*argv, "--regime", "full", "--inference_tag", "_warm", "--set", "beam=2"]) == 0
    run = load_run(DecodingRun, tmp_path / "exp" / "decode_beam2_full_warm")
    assert (run.search, run.regime, run.tag) == ("beam2", "full", "warm")


def test_utterances_that_are_decoded_again_are_listed(argv, tmp_path):
    """Random weights run in circles."""
    more = ["tokens_per_s=200", "tokens_floor=40", "retry_loops={}"]
    for retry, listed in (("false", ""), ("true", "s-a\n")):
        assert main([*argv, "--set", *(value.format(retry) for value in more)]) == 0
        found = (tmp_path / "exp" / "decode_greedy_chunked" / "test_x_de" / "retried").read_text(encoding="utf-8")
        assert found == listed


def test_a_decoding_of_an_earlier_version_gets_a_run_record(argv, tmp_path, capsys):
    assert main(argv) == 0
    record = tmp_path / "exp" / "decode_greedy_chunked" / "run.json"
    first = record.read_bytes()
    assert main(argv) == 0
    assert record.read_bytes() == first, "an up-to-date decoding keeps its record"
    record.unlink()
    assert main(argv) == 0
    assert "test_x_de is up to date" in capsys.readouterr().err
    assert load_run(DecodingRun, record.parent).search == "greedy"


def test_a_tag_that_cannot_be_part_of_a_file_name_is_an_error(argv, tmp_path, capsys):
    assert main([*argv, "--inference_tag", "../x"]) == 1
    assert "--inference_tag: got '../x', wanted letters, digits" in capsys.readouterr().err
    assert not list((tmp_path / "exp").glob("decode_*"))
