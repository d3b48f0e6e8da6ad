"""Weights in files must be plain tensors of finite numbers; errors name file and tensor in one line."""

from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import save_file
from transformers import Qwen3ForCausalLM

from tests.model import tiny
from tests.model.test_build import broken  # noqa: F401
from tests.model.test_checkpoint import change_file, saved  # noqa: F401
from zipperasr.lid.stored_embeddings import load_embeddings
from zipperasr.model.backbone_files import load_backbone
from zipperasr.model.backbones.qwen3 import Qwen3
from zipperasr.model.backbones.whisper import WHISPER_SIZES, WhisperEncoderOnly
from zipperasr.model.backbones.whisper_languages import WhisperTokenEmbedding
from zipperasr.model.checkpoint import load_parts, load_trained
from zipperasr.model.tensor_values import FLOATS, check_finite, check_values
from zipperasr.model.weights_file import load_weights

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("place", [0, 2, -1])
def test_a_single_non_finite_value_is_found_and_counted(dtype, bad, place):
    tensor = torch.randn(3, 1001).to(dtype)
    check_values(tensor, "file: x")
    check_values(tensor.T, "file: x")
    tensor.view(-1)[place] = bad
    for view in (tensor, tensor.T):
        with pytest.raises(ValueError, match=r"^file: x: 1 of 3,003 values are NaN, infinite or beyond float32; fetch"):
            check_values(view, "file: x")


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_values_of_a_type_are_finite(dtype):
    largest = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    check_finite(torch.tensor([largest, -largest, 0.0, torch.finfo(dtype).tiny], dtype=dtype), "x")
    check_finite(torch.full((1000,), largest, dtype=dtype), "x")  # their sum is infinite


@pytest.mark.parametrize(
    "tensor", [torch.zeros(0), torch.zeros(3, 0), torch.tensor(1.0), torch.arange(3), torch.ones(2) > 0]
)
def test_empty_and_integer_tensors_are_accepted(tensor):
    check_values(tensor, "x")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: torch.ones(2, dtype=torch.complex64),
            "x: got complex64, wanted float32, bfloat16, float16, float64, ",
        ),
        (lambda: torch.ones(2).to(torch.float8_e4m3fn), "x: got float8_e4m3fn, wanted"),
        (
            lambda: torch.ones(2, 2).to_sparse(),
            "x: got a sparse_coo tensor, wanted a dense one with values; convert",
        ),
        (lambda: torch.ones(2, 2).to_sparse_csr(), "x: got a sparse_csr tensor, wanted a dense one"),
        (lambda: torch.ones(2, device="meta"), "x: got a meta tensor, wanted a dense one"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "x: got a quantised tensor"),
        (
            lambda: torch.ones(1).expand(10**12),
            r"x: shape \[1000000000000\], but only 1 values are stored; make it contiguous",
        ),
    ],
)
def test_other_tensors_are_rejected(make, said):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warnings about sparse and quantised tensors
        tensor = make()
    with pytest.raises(ValueError, match=said):
        check_values(tensor, "x")


def test_integers_are_not_accepted_as_weights_nor_weights_as_integers():
    with pytest.raises(ValueError, match="x: got int64, wanted float32, bfloat16, float16, float64; convert it"):
        check_values(torch.arange(3), "x", torch.float32)
    with pytest.raises(ValueError, match="x: got float32, wanted int64, int32, int16, int8, uint8, bool; convert it"):
        check_values(torch.ones(3), "x", torch.int32)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_trained_weights_are_checked(saved, bad):  # noqa: F811
    model, path = saved
    name = "encoder.whisper.layers.0.fc1.b_shared"
    change_file(path, lambda tensors: tensors[name].view(-1)[3:5].fill_(bad))
    with pytest.raises(ValueError, match=rf"model.safetensors: {name}: 2 of 96 values are NaN, infinite or beyond"):
        load_trained(model, path)
    with pytest.raises(ValueError, match=rf"model.safetensors: {name}: 2 of 96 values are NaN"):
        load_parts(model, path, (".b_shared",))
    with pytest.raises(ValueError, match=rf"model.safetensors: {name}: 2 of 96 values are NaN"):
        load_weights(path)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int32, torch.float8_e5m2])
def test_trained_weights_of_another_type_are_named(saved, dtype):  # noqa: F811
    model, path = saved
    name = "projector.norm.bias"
    change_file(path, lambda tensors: tensors.update({name: torch.ones(16).to(dtype)}))
    with pytest.raises(ValueError, match=rf"model.safetensors: {name}: got {str(dtype)[6:]}, wanted float32"):
        load_trained(model, path)


@pytest.mark.parametrize(
    ("part", "name", "model_class"),
    [
        ("llm", "model.layers.1.mlp.up_proj.weight", Qwen3ForCausalLM),
        ("whisper", "model.encoder.conv1.bias", WhisperEncoderOnly),
        ("whisper", "model.decoder.embed_tokens.weight", WhisperTokenEmbedding),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_backbone_s_weights_are_checked(broken, part, name, model_class, dtype):  # noqa: F811
    directory, change = broken
    change(part, lambda tensors: tensors[name].view(-1)[0].fill_(NAN))
    ours = name if part == "llm" else name.removeprefix("model.")
    with pytest.raises(ValueError, match=rf"{part}: {ours}: 1 of .* values are NaN, infinite or beyond float32"):
        load_backbone(model_class, str(directory / part), dtype, Qwen3.size_rules if part == "llm" else WHISPER_SIZES)


def test_unused_parts_of_a_backbone_are_not_read(broken):  # noqa: F811
    directory, change = broken
    change("whisper", lambda tensors: tensors["model.decoder.layers.0.fc1.weight"].fill_(NAN))
    load_backbone(WhisperEncoderOnly, str(directory / "whisper"), torch.float32, WHISPER_SIZES)


def test_lid_embeddings_are_checked(tmp_path):
    import kaldiio

    vectors = {code: torch.full((4,), NAN if code == "es" else 1.0).numpy() for code in tiny.CODES}
    kaldiio.save_ark(str(tmp_path / "lid_token.ark"), vectors, scp=str(tmp_path / "lid_token.scp"))
    with pytest.raises(ValueError, match=r"lid_token.scp: 4 of 12 values are NaN"):
        load_embeddings(tmp_path, "token", list(tiny.CODES))


def test_large_tensors_are_checked_without_a_copy():
    """aminmax needs no mask; a mask of 200 MB would be noticed."""
    import resource

    tensor = torch.zeros(200_000_000, dtype=torch.uint8).view(torch.bfloat16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_values(tensor, "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_damaged_files_are_reported_before_values(tmp_path):
    save_file({"w": torch.ones(3)}, tmp_path / "x.safetensors")
    content = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"x.safetensors: damaged, or not a safetensors file"):
        load_weights(tmp_path / "x.safetensors")
