"""A table of what each phase trains, checked by which tensors one optimiser step changes."""

from __future__ import annotations

import fnmatch

import pytest
import torch

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.lora import VARIANTS
from zipperasr.model.build import set_trainable

# part of the model -> phases in which it changes; the first matching pattern applies
TABLE = {
    "encoder.whisper.embed_positions.weight": (),  # sinusoids
    "encoder.whisper.layers.*.base.*": (),  # linear layers with an adapter, in adaptation only
    "encoder.whisper.layers.*.a": ("sft",),
    "encoder.whisper.layers.*.b_shared": ("sft",),
    "encoder.whisper.layers.*_specific": ("sft",),
    "encoder.whisper.*": ("align",),
    "adapters.router.*": ("sft",),
    "projector.*": ("align", "sft"),
    "llm.*.lora_*": ("align", "sft"),
    "llm.*": (),
}


def changed_by_a_step(model) -> dict[str, bool]:
    """{tensor: whether one AdamW step with all languages of the model changed it}."""
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    packs = [*tiny.two_packs(), [tiny.example("f", "es", 8000, "tres", 6)]]
    model.train()(collate(packs), None)[0].backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0).step()
    return {name: not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters()}


def phases_of(name: str) -> tuple[str, ...]:
    return next(phases for pattern, phases in TABLE.items() if fnmatch.fnmatch(name, pattern))


def test_alignment_trains_encoder_projector_and_the_llms_lora(config):
    for name, changed in changed_by_a_step(tiny.align_model(config)).items():
        assert changed == ("align" in phases_of(name)), name


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_sft_trains_adapters_router_projector_and_the_llms_lora(config, variant):
    for name, changed in changed_by_a_step(tiny.sft_model(config, variant)).items():
        assert changed == ("sft" in phases_of(name)), name


def test_every_line_of_the_table_applies_to_some_model(config):
    names = [name for v in ("zipper_soft",) for name, _ in tiny.sft_model(config, v).named_parameters()]
    names += [name for name, _ in tiny.align_model(config).named_parameters()]
    for pattern in TABLE:
        assert fnmatch.filter(names, pattern), pattern


def test_unknown_phase_names_the_nearest(config):
    with pytest.raises(ValueError, match=r"unknown phase 'aling'; did you mean 'align'\?"):
        set_trainable(tiny.align_model(config), "aling")
