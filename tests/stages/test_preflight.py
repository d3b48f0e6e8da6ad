"""Mistakes in the settings are reported before the first stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from zipperasr.stages.preflight import main


@pytest.fixture
def conf(recipe, tmp_path, monkeypatch):
    """A copy of the recipe's conf/, in the working directory."""
    shutil.copytree(recipe / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf"


@pytest.mark.parametrize("scale", ["mini", "full"])
@pytest.mark.parametrize("setting", ["1h", "30h"])
def test_the_shipped_recipe_passes(conf, scale, setting):
    assert main(["--conf", f"conf/{scale}", "--setting", setting]) == 0
    assert main(["--conf", f"conf/{scale}", "--setting", setting, "--lora", "none"]) == 0


def test_the_example_of_augmentation_passes(conf):
    assert main(["--sft_config", "conf/mini/sft_augment.yaml"]) == 0
    assert main(["--train_args", "augment.speed=[0.9,1.0,1.1]", "augment.spec=1"]) == 0
    later = ["--train_args", "augment.noise=1", "augment.noise_list=removed_since.txt", "--stages", "8", "9"]
    assert main(later) == 0, "only a training reads its lists"


def test_a_mistake_in_the_settings_of_clips_is_reported(conf, capsys):
    (conf / "mini" / "clips.yaml").write_text("joint: 0.3\n", encoding="utf-8")
    assert main([]) == 1
    assert "conf/mini/clips.yaml: unknown key 'joint'; did you mean 'joined'?" in capsys.readouterr().err
    (conf / "mini" / "clips.yaml").unlink()
    assert main([]) == 0, "a scale without the file has no composed clips"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conf", "conf/minni"], "unknown scale 'minni'; did you mean 'mini'?"),
        (["--setting", "10h"], "unknown setting '10h'"),
        (["--lora", "zippersoft"], "unknown lora 'zippersoft'; did you mean 'zipper_soft'?"),
        (["--regime", "chunk"], "unknown regime 'chunk'; did you mean 'chunked'?"),
        (["--initial_parts", "b", "roter"], "--initial_parts 'roter'; did you mean 'router'?"),
        (["--add_lang", "sw"], "--add_lang sw: needs --init_from, the directory of a trained model"),
        (["--init_from", "exp/none", "--add_lang", "sw"], "exp/none/config.yaml: no finished training here"),
        (["--train_args", "lrr=1"], "unknown key 'lrr'; did you mean 'lr'?"),
        (["--train_args", "lr"], "wanted key=value"),
        (["--decode_args", "beams=4"], "unknown key 'beams'; did you mean 'beam'?"),
        (["--train_args", "lr=nan"], "--train_args lr=nan: lr: got nan, wanted at least 0 and finite"),
        (["--train_args", "lr=[1"], "--train_args lr=[1: not valid YAML"),
        (["--train_args", "augment.spec=2"], "--train_args augment.spec=2: augment: spec: got 2.0, wanted 0 to 1"),
        (["--train_args", "augment.noise=1", "augment.noise_list=n.txt"], "noise_list: n.txt: no such file"),
        (
            ["--train_args", "augment={spec: 1, freq_width: 81}"],
            "augment.freq_width: got 81, wanted at most 80, the mel_",
        ),
        (["--train_args", "lr.x=1"], "--train_args lr.x=1: lr is a single value"),
        (["--decode_args", "beam=0"], "--decode_args beam=0: beam: got 0, wanted at least 1"),
        (["--decode_args", "nbest=2"], "--decode_args nbest=2: nbest: got 2, wanted at most beam, 1; set beam=2"),
        (
            ["--decode_args", "quantize=int8", "--gpu_inference", "true"],
            "quantize: int8 is for CPUs, but stage 7 uses GPUs; set --gpu_inference false or quantize=none",
        ),
        (
            ["--decode_args", "cuda_graphs=true"],
            "cuda_graphs: true is for GPUs, but stage 7 uses CPUs; set --gpu_inference true or cuda_graphs=false",
        ),
        (["--decode_args", "precision=fp8"], "--decode_args precision=fp8: precision: unknown value 'fp8'"),
        (["--train_args", "lrr=1"], "preflight: error: --train_args lrr=1: unknown key 'lrr'"),
        (["--train_args", "packs_per_batch={full: 1}"], "packs_per_batch"),
        (["--sft_config", "conf/mini/none.yaml"], "conf/mini/none.yaml: no such configuration file"),
        (["--decode_config", "conf/mini/none.yaml"], "conf/mini/none.yaml: no such configuration file"),
        (["--alignment_sets", "al"], "unknown alignment_sets 'al'; did you mean 'all'?"),
        (["--lid_mode", "tokens"], "unknown lid_mode 'tokens'; did you mean 'token'?"),
        (["--lora", "none", "--initial_b", "exp/none"], "--initial_b exp/none: --lora none has no B to initialise"),
        (["--initial_b", "exp/none"], "exp/none/config.yaml: no finished training here"),
        (["--nproc", "0"], "--nproc 0: wanted an integer, at least 1"),
        (["--max_missing_share", "1.5"], "--max_missing_share 1.5: wanted a share, 0 to 1"),
        (["--max_quarantine_share", "nan"], "--max_quarantine_share nan: wanted a share, 0 to 1"),
        (["--max_quarantine_share", "1%"], "--max_quarantine_share 1%: wanted a share, 0 to 1"),
        (["--nj", "two"], "--nj two: wanted an integer, at least 1"),
        (["--ngpu", "-1"], "--ngpu -1: wanted an integer, at least 0"),
        (["--seed", "9" * 400], "wanted an integer, at least 0"),
        (
            ["--eval_lang", "de", "xx"],
            "--eval_lang xx: no test set in conf/datasets.tsv (phase sft); choose from ar, de, ",
        ),
        (
            ["--eval_lang", "de", "--eval_phases", "align", "sft"],
            "--eval_lang de: no test set in conf/datasets.tsv (phase align); choose from en, fr, th, zh",
        ),
        (
            ["--num_nodes", "2"],
            "--num_nodes 2 needs --master HOST:PORT of machine 0, or --hostfile, or CMD_BACKEND=slurm",
        ),
        (["--num_nodes", "2", "--master", "node1"], "--master node1: wanted HOST:PORT, such as node1:29500"),
        (["--num_nodes", "2", "--master", "node1:99999"], "--master node1:99999: wanted HOST:PORT"),
        (
            ["--num_nodes", "2", "--node_rank", "2", "--master", "node1:29500"],
            "--node_rank 2: wanted 0 to 1 with --num_nodes 2",
        ),
        (
            ["--stages", "5"],
            "conf/mini/model.yaml: whisper: exp/backbones/whisper/config.json does not exist; run stage 0",
        ),
    ],
)
def test_a_mistake_is_reported_in_one_line(conf, capsys, monkeypatch, arguments, message):
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--num_nodes", "2", "--master", "node1:29500", "--node_rank", "1"],
        ["--num_nodes", "2", "--hostfile", "hosts"],
        ["--num_nodes", "2", "--cuda_cmd", "utils/slurm.sh --num_threads 8"],
        ["--eval_lang", "th", "zh", "--eval_phases", "align"],
        ["--stages", "1", "2"],
        ["--stages", "8", "9"],
        ["--conf", "conf/full", "--stages", "5"],
        ["--decode_args", "quantize=int8", "--gpu_inference", "false"],
        ["--decode_args", "quantize=int8", "--gpu_inference", "true", "--stages", "8", "9"],
        ["--decode_args", "cuda_graphs=true", "--gpu_inference", "true"],
    ],
)
def test_valid_settings_pass(conf, arguments):
    assert main(arguments) == 0


def test_under_slurm_several_machines_need_no_address(conf, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    assert main(["--num_nodes", "2"]) == 0


def test_more_gpus_than_the_machine_has_are_an_error(conf, capsys):
    found = torch.cuda.device_count()
    assert main(["--ngpu", str(found)]) == 0
    assert main(["--ngpu", str(found + 1)]) == 1
    assert f"--ngpu {found + 1}: torch finds {found} GPUs on this machine" in capsys.readouterr().err
    assert main(["--ngpu", str(found + 1), "--cuda_cmd", "utils/slurm.sh --num_threads 8"]) == 0


def write_backbones(mel_bins: int) -> None:
    for name in ("whisper", "llm"):
        Path("exp/backbones", name).mkdir(parents=True, exist_ok=True)
        Path("exp/backbones", name, "config.json").write_text("{}")
    Path("exp/backbones/whisper/config.json").write_text(json.dumps({"num_mel_bins": mel_bins}))


def test_a_whisper_with_other_mel_bins_is_an_error_unless_stage_0_creates_it(conf, capsys):
    write_backbones(80)
    assert main(["--stages", "5"]) == 0
    write_backbones(128)
    assert main(["--stages", "0", "5"]) == 0
    assert main(["--stages", "5"]) == 1
    message = "conf/mini/model.yaml: mel_bins: got 80, but exp/backbones/whisper/config.json has 128; set mel_bins: 128"
    assert message in capsys.readouterr().err
    model = conf / "full" / "model.yaml"
    model.write_text(f"base: {conf / 'mini' / 'model.yaml'}\n", encoding="utf-8")
    assert main(["--conf", "conf/full"]) == 1  # stage 0 creates no backbones at full scale


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "got a JSON list, wanted an object")])
def test_a_damaged_backbone_configuration_is_an_error(conf, capsys, text, message):
    write_backbones(80)
    Path("exp/backbones/whisper/config.json").write_text(text)
    assert main(["--stages", "5"]) == 1
    assert f"exp/backbones/whisper/config.json: {message}" in capsys.readouterr().err


def test_an_unknown_language_in_the_dataset_table_is_an_error(conf, capsys):
    table = conf / "datasets.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("\tko\t", "\tkr\t"), encoding="utf-8")
    assert main([]) == 1
    assert "kr" in capsys.readouterr().err


def test_a_missing_configuration_is_an_error(conf, capsys):
    (conf / "mini" / "sft.yaml").unlink()
    assert main([]) == 1
    assert "conf/mini/sft.yaml: no such configuration file" in capsys.readouterr().err
