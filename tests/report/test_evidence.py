from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from zipperasr.report.collect import find_decodings, find_trainings
from zipperasr.report.evidence import convergence_table, forgetting_table, norms_table
from zipperasr.report.groups import load_groups
from zipperasr.report.tables import group_table
from zipperasr.report.weight_facts import specific_over_shared


@pytest.fixture
def groups(pristine_run, languages):
    return load_groups(pristine_run / "conf" / "datasets.tsv", languages)


def test_forgetting_is_the_increase_on_the_source_sets(pristine_run, groups, languages):
    alignment, vanilla, _ = find_decodings(pristine_run / "exp")
    before = {(score.set, score.normaliser): score.rate for score in alignment.scores}
    worse = replace(vanilla, scores=[replace(s, rate=before[s.set, s.normaliser] + 2.5) for s in vanilla.scores])
    header, _, start, row = forgetting_table([alignment, worse], groups, languages).splitlines()
    assert header == "| system | encoder | en | fr | th (CER) | zh\\* (CER) | mean of 4 |"
    assert row == "| `vanilla` | chunked | 2.50 | 2.50 | 2.50 | 2.50 | 2.50 |"
    table_ii = group_table([alignment], "source", groups, languages).splitlines()[2]
    assert start == table_ii.replace("`Alignment` | chunked | greedy", "`Alignment`: error rates | chunked")
    assert forgetting_table([vanilla], groups, languages) == forgetting_table([alignment], groups, languages) == ""


def test_forgetting_has_no_mean_without_one_of_the_source_languages(pristine_run, groups, languages):
    alignment, vanilla, _ = find_decodings(pristine_run / "exp")
    partly = replace(vanilla, scores=[score for score in vanilla.scores if score.language != "zh"])
    assert forgetting_table([alignment, partly], groups, languages).splitlines()[-1].endswith("| – | – |")


def test_convergence_counts_steps_to_vanillas_last_dev_loss(pristine_run):
    _, vanilla, soft = find_trainings(pristine_run / "exp")
    losses = [{"step": 100, "loss": 2.0}, {"step": 200, "loss": 1.0}, {"step": 300, "loss": 0.9}]
    pair = [replace(vanilla, dev=losses), replace(soft, dev=[{"step": 100, "loss": 0.95}, {"step": 200, "loss": 0.9}])]
    table = convergence_table(pair)
    assert "| `vanilla` | chunked | 300 |" in table and "| `zipper_soft` | chunked | 200 |" in table
    slow = replace(soft, dev=[{"step": 100, "loss": 3.0}])
    assert "| `zipper_soft` | chunked | never |" in convergence_table([pair[0], slow])
    assert convergence_table([pair[1]]) == ""
    other = replace(soft, dev=[{"step": 100, "loss": 0.95, "loss_sw": 0.95}])  # a language added later
    assert convergence_table([pair[0], other]) == ""


def write_config(training, lora, init_from=None, **encoder_lora):
    tree = {"lora": lora, "init_from": init_from, "model": {"encoder_lora": encoder_lora}}
    (training.model.directory / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")


def test_norms_weight_both_banks_by_the_routers_p(run_dir):
    soft = find_trainings(run_dir / "exp")[2]
    final = {"languages": ["de", "ja"], "layers": ["one"], "p": [[[0.5, 0.5], [0.0, 1.0]]]}
    shared = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    specific = torch.stack([2 * shared, shared])
    tensors = {"encoder.whisper.one.b_shared": shared, "encoder.whisper.one.b_specific": specific}
    save_file(tensors, soft.model.directory / "model.safetensors")
    soft = replace(soft, router_final=final)
    write_config(soft, "zipper_soft")
    assert specific_over_shared(soft) == pytest.approx({"de": 2.0, "ja": 4 / 3})
    hard = replace(soft, router_final={**final, "p": [[[0.2, 0.9]] * 2]})
    write_config(hard, "zipper_hard", tau=0.5, p_selects_shared=True)  # Eq. 13: the second column is shared
    assert specific_over_shared(hard) == pytest.approx({"de": 6 / 4, "ja": 3 / 4})
    write_config(hard, "zipper_hard", tau=0.5, p_selects_shared=False)
    assert specific_over_shared(hard) == pytest.approx({"de": 8 / 3, "ja": 4 / 3})
    write_config(soft, "zipper_soft")
    assert "| `zipper_soft` | chunked | 2.00 | 1.33 |" in norms_table([soft])
    assert norms_table([replace(soft, router_final=None)]) == ""
    write_config(soft, "zipper_soft", init_from="exp/soft")  # fine-tuned or extended
    assert norms_table([soft]) == ""


def test_an_invalid_zipper_hard_configuration_is_an_error(run_dir):
    soft = find_trainings(run_dir / "exp")[2]
    save_file({"x": torch.ones(1)}, soft.model.directory / "model.safetensors")
    hard = replace(soft, router_final={"languages": ["de"], "layers": ["one"], "p": [[[0.5]]]})
    write_config(hard, "zipper_hard", tau="x")
    with pytest.raises(ValueError, match=r"config.yaml: encoder_lora: zipper_hard: tau: got 'x', wanted a number"):
        specific_over_shared(hard)
