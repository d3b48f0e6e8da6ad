"""asr.sh and run.sh select stages, check settings first and report missing inputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpora.example import write_noise, write_text
from zipperasr.prepare.dataset_table import COLUMNS


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """A project with the recipe in the state of a fresh checkout."""
    for name in ("utils", "tools", "zipperasr"):
        (tmp_path / name).symlink_to(root / name)
    made = shutil.ignore_patterns("data*", "dump*", "exp*", "downloads", "RESULTS.md", "__pycache__")
    for name in ("TEMPLATE", "zipper12"):
        shutil.copytree(root / "egs2" / name, tmp_path / "egs2" / name, symlinks=True, ignore=_but_for_conf(made))
    return tmp_path


def _but_for_conf(ignore):
    """Ignore data/ of stage 1, but not conf/datasets.tsv."""
    return lambda folder, names: set() if Path(folder).name in {"conf", "mini"} else ignore(folder, names)


@pytest.fixture
def run(project: Path):
    """Call the recipe's run.sh with the Python that runs the tests."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [project / "egs2" / "zipper12" / "asr1" / "run.sh", *arguments],
            capture_output=True,
            text=True,
            cwd=project,
            env={**os.environ, "PATH": path, **environment},
        )

    return call


def left_behind(project: Path) -> list[str]:
    """Files that a run wrote into the recipe."""
    recipe = project / "egs2" / "zipper12" / "asr1"
    return sorted(path.name for path in recipe.iterdir() if path.name.startswith(("data", "dump", "exp", "downloads")))


def test_help_lists_stages_and_options(run):
    done = run("--help")
    assert done.returncode == 0
    assert "5  alignment" in done.stdout
    for option in ("stage", "stop_stage", "scale", "lora", "ngpu", "nj", "dry_run", "setting", "inference_tag"):
        assert f"  --{option} " in done.stdout


def test_unknown_option_exits_with_2(run):
    done = run("--lorra", "vanilla")
    assert done.returncode == 2
    assert "unknown option --lorra; asr.sh --help lists the options" in done.stderr


def test_an_unexpected_argument_is_an_error(run):
    done = run("--stage", "3", "4")
    assert done.returncode == 2
    assert "unexpected argument '4'" in done.stderr


def test_unknown_variant_fails_before_any_stage_and_writes_nothing(run, project):
    done = run("--lora", "zippersoft")
    assert done.returncode == 1
    assert "did you mean 'zipper_soft'?" in done.stderr
    assert left_behind(project) == []


def test_an_unknown_backend_is_an_error(run):
    done = run(CMD_BACKEND="slrum")
    assert done.returncode == 2
    assert "unknown CMD_BACKEND 'slrum'; choose from local, slurm" in done.stderr


@pytest.mark.parametrize(("stage", "remedy"), [("1", "downloads/"), ("5", "run stage 0"), ("9", "run stages 7 and 8")])
def test_a_single_stage_names_the_stages_to_run_first(run, stage, remedy):
    done = run("--stage", stage, "--stop_stage", stage)
    assert done.returncode == 1
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line]
    assert remedy in line
    assert "Traceback" not in done.stdout + done.stderr


IN_STAGE = """
set -euo pipefail
. {root}/utils/log.sh
options_error() {{ die "$@"; }}
skip_data_prep=false skip_train=true skip_eval=false alignment_only=false
init_from= ngpu=0 scale=mini node_rank=0 expdir=exp sft=exp/sft
stage=$1 stop_stage=$2
. {root}/utils/stage.sh
for n in 0 1 2 3 4 5 6 7 8 9; do
    if in_stage "$n" "what"; then echo "$n"; fi
done
"""


@pytest.mark.parametrize(("first", "last", "wanted"), [("0", "9", "0123789"), ("3", "7", "37"), ("8", "9", "89")])
def test_stages_are_selected_by_range_and_skip_options(root, first, last, wanted):
    command = ["bash", "-c", IN_STAGE.format(root=root), "asr.sh", first, last]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "".join(done.stdout.split()) == wanted
    assert len(done.stderr.splitlines()) == len(wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--stage 5 --stop-stage 3", "--stage 5 --stop_stage 3: no stage in this range"),
        ("--stop-stage 10", "--stop_stage 10: the last stage is 9"),
        ("--stage 10 --stop_stage 12", "--stage 10: stages are numbered from 0 to 9"),
        ("--stage -1", "--stage -1: stages are numbered from 0 to 9"),
        ("--stage 4 --stop_stage 6 --skip_train true", "the options skip every stage from 4 to 6"),
    ],
)
def test_a_range_without_stages_is_an_error(run, project, options, message):
    done = run(*options.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert left_behind(project) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--asr_args lr=x", "--train_args lr=x: lr: got 'x', wanted a number"),
        ("--inference_args beam=0", "--decode_args beam=0: beam: got 0, wanted at least 1"),
        ("--asr_config a.yaml", "a.yaml: no such configuration file"),
        ("--inference-config b.yaml", "b.yaml: no such configuration file"),
        ("--inference_nj 0", "--inference_nj 0: wanted an integer, at least 1"),
        ("--retries -1", "--retries -1: wanted an integer, at least 0"),
        ("--gpu_inference true", "--gpu_inference true needs GPUs: set --ngpu"),
        ("--gpu_inference yes", "--gpu_inference: got 'yes', wanted true or false"),
        ("--num_nodes 2", "--num_nodes 2 needs --master"),
        ("--eval_lang de", "--eval_lang de: no test set in conf/datasets.tsv (phase align)"),
        ("--stage 6 --eval_lang dd", "--eval_lang dd: no test set in conf/datasets.tsv (phase sft); choose"),
        ("--lid_mode tok", "unknown lid_mode 'tok'"),
        ("--initial_b nowhere", "nowhere/config.yaml: no finished training here"),
    ],
)
def test_espnet_s_option_names_are_accepted_and_settings_are_checked_first(run, project, options, message):
    done = run(*options.split())
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert left_behind(project) == []


def test_shares_of_missing_and_unreadable_audio_are_options(run, project):
    """Of ten training utterances, two have no file and two have one that is not audio."""
    recipe = project / "egs2/zipper12/asr1"
    for number in range(8):
        write_noise(recipe / f"own/{number}.wav", seed=number)
    for number in (0, 1):
        (recipe / f"own/{number}.wav").write_text("no audio")
    for split, numbers in (("train", range(10)), ("test", range(2, 4))):
        lines = ({"audio": f"{n}.wav", "text": "x", "lang": "de", "id": f"{split}{n}", "speaker": "s"} for n in numbers)
        write_text(recipe / f"own/{split}.jsonl", *map(json.dumps, lines))
    row = "sft own:jsonl de both train - - test 0 - -".replace(" ", "\t")
    write_text(recipe / "conf/datasets.tsv", "\t".join(COLUMNS), row)
    write_text(recipe / "conf/mini/corpora.yaml", "roots: {own: own}", "utt_ids: none", "table_hours: false")

    done = run("--stage", "1", "--stop_stage", "2", "--nj", "1")
    assert "train_own_de: 2 of 8 utterances (25.0%) are not in the corpus" in done.stdout + done.stderr
    done = run("--stage", "1", "--stop_stage", "2", "--nj", "1", "--max_missing_share", "0.5")
    assert "2 of 8 utterances of train_own_de cannot be used, wanted at most 1.0%" in done.stdout + done.stderr
    shares = ("--max_missing_share", "0.5", "--max_quarantine_share", "0.25")
    done = run("--stage", "1", "--stop_stage", "2", "--nj", "1", *shares)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((recipe / "dump/raw/train_own_de/text").read_text().splitlines()) == 6


DECODE = """
set -euo pipefail
. {root}/utils/log.sh
options_error() {{ die "$@"; }}
skip_data_prep=false skip_train=false skip_eval=false alignment_only=false retries=0
init_from= scale=mini node_rank=1 expdir={here}/exp sft=exp/sft stage=7 stop_stage=7
train_cmd=utils/run.sh cuda_cmd=utils/run.sh
ngpu=$1 inference_nj=$2 gpu_inference=$3 inference_ngpu=${{4:-1}}
. {root}/utils/stage.sh
in_stage 7 decoding
on_inference_shards zipperasr.stages.decode --exp exp/a
"""
STAGE_7 = """#!/usr/bin/env bash
# stands in for python3: records the shards and their GPUs
case ${{*: -1}} in
    missing/*) [[ -e {here}/asked ]] || {{ touch {here}/asked && echo "1:${{*: -1}}" | tr -d misng/; }} ;;
    *) echo "$* on ${{CUDA_VISIBLE_DEVICES-all}}" >>{here}/calls ;;
esac
"""


@pytest.mark.parametrize(
    ("options", "gpus", "shards"),
    [
        (["4", "", ""], "0,1,2,3", ["1/4 on 0", "2/4 on 1", "3/4 on 2", "4/4 on 3"]),
        (["2", "3", "true"], "4,6", ["1/3 on 4", "2/3 on 6", "3/3 on 4"]),
        (["4", "", "", "2"], "0,1,2,3", ["1/2 on 0,1", "2/2 on 2,3"]),
        (["2", "2", "false"], "0,1", ["1/2 on ", "2/2 on "]),
        (["0", "2", ""], "0,1", ["1/2 on ", "2/2 on "]),
    ],
)
def test_stage_7_runs_one_process_per_gpu_or_as_many_as_asked_for(root, tmp_path, options, gpus, shards):
    (tmp_path / "python3").write_text(STAGE_7.format(here=tmp_path))
    (tmp_path / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": gpus}
    command = ["bash", "-c", DECODE.format(root=root, here=tmp_path), "asr.sh", *options]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *found, merge = (tmp_path / "calls").read_text().splitlines()
    assert sorted(found) == [f"-m zipperasr.stages.decode --exp exp/a --shard {shard}" for shard in shards]
    assert f"--shard merge/{len(shards)} on" in merge


@pytest.mark.parametrize(("ngpu", "gpus", "wanted"), [("1", "0,1", "0,1"), ("0", "0", "")])
def test_one_process_decodes_without_a_merge(root, tmp_path, ngpu, gpus, wanted):
    (tmp_path / "python3").write_text(STAGE_7.format(here=tmp_path))
    (tmp_path / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": gpus}
    command = ["bash", "-c", DECODE.format(root=root, here=tmp_path), "asr.sh", ngpu, "", ""]
    subprocess.run(command, cwd=root, env=environment, check=True)
    assert (tmp_path / "calls").read_text() == f"-m zipperasr.stages.decode --exp exp/a on {wanted}\n"


@pytest.mark.parametrize("tag", ["_b", "b"])
def test_a_tag_is_separated_by_one_underscore(run, tag):
    options = "--stage 6 --stop_stage 6 --scale full --lora vanilla --nproc 1 --asr_tag"
    done = run(*options.split(), tag)
    assert "-> exp_full/sft_vanilla_chunked_b\n" in done.stderr


@pytest.mark.parametrize(("only", "scored"), [("false", "exp/align_chunked exp/sft_b"), ("true", "exp/sft_b")])
def test_the_adaptation_can_be_scored_without_the_alignment(run, only, scored):
    """For an alignment with the test sets of another setting."""
    options = "--stage 8 --stop_stage 8 --lora vanilla --asr_tag b --adaptation_only"
    done = run(*options.split(), only)
    assert f"stage 8: scoring: {scored}\n".replace("sft_b", "sft_vanilla_chunked_b") in done.stderr


def test_a_new_recipe_shares_the_stages_by_link(project):
    setup = project / "egs2" / "TEMPLATE" / "asr1" / "setup.sh"
    subprocess.run([setup, "egs2/mine/asr1"], cwd=project, check=True, capture_output=True)
    recipe = project / "egs2" / "mine" / "asr1"
    for name in ("asr.sh", "path.sh", "cmd.sh", "utils", "local/prepare.py", "local/mini"):
        assert (recipe / name).is_symlink()
        assert (recipe / name).exists()
    assert (recipe / "conf" / "languages.tsv").is_file()
    helped = subprocess.run([recipe / "run.sh", "--help"], capture_output=True, text=True, cwd=project)
    assert "5  alignment" in helped.stdout


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "wanted egs2/NAME/asr1"), ("mine", "wanted egs2/NAME/asr1"), ("egs2/zipper12/asr1", "already exists")],
)
def test_setup_rejects_a_wrong_directory(project, place, message):
    setup = project / "egs2" / "TEMPLATE" / "asr1" / "setup.sh"
    done = subprocess.run([setup, place], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr
