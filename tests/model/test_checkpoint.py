"""Trained weights on disk: loaded strictly and by name, language banks by code."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.lora import VARIANTS
from zipperasr.model.build import add_adapters, set_trainable
from zipperasr.model.checkpoint import count_trained, load_trained, save_trained, trained_state


def reordered_model(config, variant, codes, rank=4):
    """A new adaptation model with another order of languages."""
    model = tiny.align_model(config, seed=9)
    add_adapters(model, config, variant, codes, torch.randn(len(codes), 10))
    set_trainable(model, "sft")
    return model.eval()


def change_file(path, change):
    """Apply `change(tensors)` to a safetensors file."""
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)


@pytest.fixture
def saved(config, tmp_path):
    model = tiny.sft_model(config, "zipper_soft")
    save_trained(model, tmp_path / "model.safetensors")
    return model, tmp_path / "model.safetensors"


def test_the_file_contains_exactly_the_trained_parameters(saved):
    model, path = saved
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert load_file(path).keys() == trained | {"adapters.router.embeddings"}
    assert not any(".base." in name and "lora" not in name for name in trained if name.startswith("encoder"))


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_loaded_model_computes_the_same(config, tmp_path, variant):
    model = tiny.sft_model(config, variant)
    save_trained(model, tmp_path / "model.safetensors")
    other = reordered_model(config, variant, tiny.CODES)
    batch = collate(tiny.two_packs())
    assert not torch.allclose(other.packed_logits(batch), model.packed_logits(batch), atol=1e-2)
    assert load_trained(other, tmp_path / "model.safetensors") == len(trained_state(model))
    assert torch.equal(other.packed_logits(batch), model.packed_logits(batch))


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_trained_parameters_are_counted_without_buffers(config, tmp_path, variant):
    model = tiny.sft_model(config, variant)
    save_trained(model, tmp_path / "model.safetensors")
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    encoder = sum(size for name, size in trained.items() if name.startswith(("encoder.", "adapters.")))
    assert count_trained(tmp_path / "model.safetensors") == (encoder, sum(trained.values()))


def test_learned_embeddings_are_counted(config, tmp_path):
    model = tiny.sft_model(config, "zipper_soft")
    save_trained(model, tmp_path / "model.safetensors")
    fixed, learned = (count_trained(tmp_path / "model.safetensors", learns) for learns in (False, True))
    size = model.adapters.router.embeddings.numel()
    assert learned == (fixed[0] + size, fixed[1] + size)


@pytest.mark.parametrize("variant", ["independent", "zipper_soft"])
def test_banks_are_matched_by_language_code(config, tmp_path, variant):
    model = tiny.sft_model(config, variant)
    save_trained(model, tmp_path / "model.safetensors")
    other = reordered_model(config, variant, ("ja", "de"))  # one language removed, the others swapped
    load_trained(other, tmp_path / "model.safetensors")
    batch = collate(tiny.two_packs())
    torch.testing.assert_close(other.packed_logits(batch), model.packed_logits(batch), rtol=0, atol=1e-5)


def test_alignment_model_round_trips(config, tmp_path):
    model = tiny.align_model(config)
    save_trained(model, tmp_path / "model.safetensors")
    other = tiny.align_model(config, seed=7)
    load_trained(other, tmp_path / "model.safetensors")
    batch = collate(tiny.two_packs())
    assert torch.equal(other.packed_logits(batch), model.packed_logits(batch))


def test_a_missing_file_is_an_error(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="no trained weights; finish the training of this directory first"):
        load_trained(tiny.align_model(config), tmp_path / "model.safetensors")


def test_a_missing_and_an_unexpected_tensor_are_named(saved):
    model, path = saved
    change_file(path, lambda tensors: tensors.update({"projector.extra": tensors.pop("projector.norm.bias")}))
    with pytest.raises(ValueError, match=r"missing projector\.norm\.bias; unexpected projector\.extra"):
        load_trained(model, path)


def test_many_missing_tensors_are_counted(saved):
    model, path = saved
    change_file(path, lambda tensors: [tensors.pop(name) for name in sorted(tensors) if "lora_A" in name])
    with pytest.raises(ValueError, match=r"missing llm\..*lora_A.* and 10 more; unexpected none"):
        load_trained(model, path)


def test_weights_of_an_alignment_do_not_fit_an_adaptation(config, tmp_path):
    save_trained(tiny.align_model(config), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing adapters\.router\..*; unexpected encoder\.whisper\.conv1\.bias"):
        load_trained(tiny.sft_model(config), tmp_path / "model.safetensors")


def test_a_misshapen_tensor_is_named_with_both_shapes(saved):
    model, path = saved
    change_file(path, lambda tensors: tensors.update({"projector.norm.bias": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"projector\.norm\.bias: got shape \(3,\), wanted \(16,\)"):
        load_trained(model, path)


def test_a_language_without_a_bank_is_named(config, saved):
    _, path = saved
    with pytest.raises(ValueError, match=r"no bank for ko, pt; the file has banks for de, es, ja"):
        load_trained(reordered_model(config, "zipper_soft", ("de", "ko", "pt")), path)
