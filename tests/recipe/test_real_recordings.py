"""Stages 1 to 4 and decoding on real recordings in ../shared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from local.mini import backbones
from zipperasr.batching.manifest import Manifest
from zipperasr.config import load_yaml
from zipperasr.decode.encoder_means import read_means
from zipperasr.languages import LanguageTable
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.model.model_config import ModelConfig
from zipperasr.stages import build_manifest, decode, format_audio, language_embeddings, prepare_data

DATASETS = """\
phase corpus language setting train_split train_hours dev_split test_splits test_hours train_list test_list
align librispeech en both dev-clean 1 - test-clean 1 - -
"""


@pytest.fixture(scope="module")
def stages(recipe: Path, shared_dir: Path, tmp_path_factory) -> Path:
    """A recipe directory after stage 4 whose corpora are the recordings."""
    base = tmp_path_factory.mktemp("real")
    speech = shared_dir / "fixtures" / "real_speech"
    (base / "conf").symlink_to(recipe / "conf")
    (base / "datasets.tsv").write_text(DATASETS.replace(" ", "\t"), encoding="utf-8")
    roots = {name: str(speech) for name in ("mls", "librispeech", "msr86k", "wenetspeech")}
    roots["commonvoice"] = str(speech / "common_voice")
    corpora = {"roots": roots, "utt_ids": str(shared_dir / "utt_ids"), "table_hours": False}
    (base / "corpora.yaml").write_text(json.dumps(corpora), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        backbones.install(Path("exp/backbones"))
        assert prepare_data.main(["--datasets", "datasets.tsv", "--corpora", "corpora.yaml", "--out", "data"]) == 0
        assert format_audio.main(["--data", "data", "--out", "dump/raw", "--nj", "1"]) == 0
        assert build_manifest.main(["--model", "conf/mini/model.yaml"]) == 0
        assert language_embeddings.main(["--model", "conf/mini/model.yaml"]) == 0
    return base


def test_every_transcribed_recording_is_in_the_manifest_with_its_length(stages: Path):
    english = Manifest.open(stages / "dump" / "manifest", "train_librispeech_en")
    assert len(english) == 3
    assert english.num_samples.sum() / 16_000 == pytest.approx(5.855 + 4.815 + 11.66, abs=0.01)


def test_real_speech_decodes_to_one_line_per_utterance(stages: Path, monkeypatch):
    monkeypatch.chdir(stages)
    torch.manual_seed(0)
    codes = tuple(LanguageTable.load("conf/languages.tsv").codes)
    config = load_yaml(ModelConfig, "conf/mini/model.yaml")
    experiment = Experiment("align", "chunked", None, None, codes, 1, config)
    exp = Path("exp/align")
    experiment.save(exp)
    save_trained(build_for_training(experiment, torch.float32, seed=1), exp / "model.safetensors")

    assert decode.main(["--exp", str(exp), "--config", "conf/mini/decode.yaml"]) == 0

    lines = (exp / "decode_greedy_chunked" / "test_librispeech_en" / "text").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["61-61-70968-0000"]
    means = read_means(exp / "decode_greedy_chunked" / "test_librispeech_en" / "encoder_means.ark")
    assert list(means) == ["61-61-70968-0000"]
