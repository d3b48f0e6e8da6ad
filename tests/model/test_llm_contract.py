"""What every LLM family must do: train packed, decode, and leave the toolkit and come back, in fp32 and bf16."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.decode.by_transformers import transcribe_batch
from tests.decode.conftest import utterances
from tests.model import tiny, tiny_llms
from tests.model.finished_training import finished_training
from zipperasr.batching.batch import collate
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.exchange.bundle import write_bundle
from zipperasr.exchange.merged_model import load_merged, write_merged
from zipperasr.exchange.peft_adapter import write_peft
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.model.backbones import LLMS, decoder_linear, find_llm, load_tokenizer
from zipperasr.model.build import build_empty_model, build_model
from zipperasr.model.cpu_products import has_kernel
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.prompt import end_id, prompt_ids, transcript_ids
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.plan.parameters import count_parameters

__all__ = ["utterances"]

CHUNK_FRAMES = 40
TEXTS = (["ein Wort", "zwei!", "drei Worte hier"], ["一つ", "二"])
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module", params=sorted(LLMS))
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def config(family, backbones, tmp_path_factory) -> ModelConfig:
    directory = tmp_path_factory.mktemp(family) / "llm"
    tiny_llms.write_llm(family, directory)
    return tiny.model_config(backbones, llm=str(directory))


@pytest.fixture(scope="module")
def tokenizer(config):
    return load_tokenizer(config.llm)


@pytest.fixture(scope="module")
def model(config) -> SpeechLLM:
    return tiny.sft_model(config, "zipper_soft")


def packs_for(tokenizer) -> list:
    """`tiny.two_packs` in the tokens of this LLM."""
    return [
        [
            dataclasses.replace(
                one,
                prompt=prompt_ids(tokenizer, tiny.table()[one.language])[:12],
                transcript=transcript_ids(tokenizer, text),
            )
            for one, text in zip(pack, texts, strict=True)
        ]
        for pack, texts in zip(tiny.two_packs(), TEXTS, strict=True)
    ]


def test_every_layer_is_adapted_and_nothing_else(model):
    llm = model.llm.get_base_model()
    adapted = {name for name, module in llm.named_modules() if hasattr(module, "lora_A")}
    linear = {
        name.removesuffix(".base_layer")
        for name, module in llm.named_modules()
        if isinstance(module, nn.Linear) and "lora_" not in name
    }
    assert adapted == linear - {"lm_head"}
    assert adapted == {
        f"model.layers.{number}.{part}.{name}"
        for number in range(3)
        for part, names in (("self_attn", ATTENTION_AND_MLP[:4]), ("mlp", ATTENTION_AND_MLP[4:]))
        for name in names
    }


@torch.no_grad()
def test_packed_logits_equal_those_of_transformers_for_one_utterance(model, tokenizer):
    """transformers makes its own masks there, of windows too."""
    packs = packs_for(tokenizer)
    packed = model.packed_logits(collate(packs), CHUNK_FRAMES)
    batches = [collate([[example]]) for pack in packs for example in pack]
    for logits, batch in zip(packed.split([len(batch.text.input_ids) for batch in batches]), batches, strict=True):
        speech, _ = model.embed_speech(batch.speech, CHUNK_FRAMES)
        alone = model.llm(inputs_embeds=model.embed_text(batch.text, speech)[None], use_cache=False).logits[0]
        torch.testing.assert_close(logits, alone, **TOLERANCE)


@torch.no_grad()
def test_changing_one_utterance_changes_no_other(model, tokenizer):
    (first, second, third), japanese = packs_for(tokenizer)
    changed = dataclasses.replace(second, mel=second.mel + 1.0, transcript=transcript_ids(tokenizer, "neun!"))
    before = model.packed_logits(collate([[first, second, third], japanese]), CHUNK_FRAMES)
    after = model.packed_logits(collate([[first, changed, third], japanese]), CHUNK_FRAMES)
    start, length = (len(collate([[one]]).text.input_ids) for one in (first, second))
    assert torch.equal(before[:start], after[:start])
    assert torch.equal(before[start + length :], after[start + length :])
    assert not torch.equal(before[start : start + length], after[start : start + length])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_falls_in_each_precision(config, tokenizer, precision, checkpointing):
    config = dataclasses.replace(config, checkpointing=checkpointing)
    experiment = Experiment("align", "chunked", None, None, tiny.CODES, 1, config)
    model = build_for_training(experiment, precision, seed=1).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.01)
    batch, losses = collate(packs_for(tokenizer)), []
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != torch.float32):
            loss, stats, weight = model(batch, CHUNK_FRAMES)
        (loss / weight).backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(stats["loss"].item())
    assert losses[-1] < losses[0] - 0.2


@torch.no_grad()
def test_bf16_logits_are_close_to_fp32(config, tokenizer):
    batch = collate(packs_for(tokenizer))
    exact = tiny.align_model(config).packed_logits(batch, CHUNK_FRAMES)
    rounded = tiny.align_model(config).to(torch.bfloat16).packed_logits(batch, CHUNK_FRAMES)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


def texts_of(model, tokenizer, batches, **settings) -> dict[str, str]:
    config = DecodeConfig(tokens_per_s=20.0, tokens_floor=8, **settings)
    return {one.example.utt_id: one.text for one in Decoder(model, tokenizer, config, CHUNK_FRAMES).run(batches)}


def test_a_text_does_not_depend_on_the_batch(model, tokenizer, utterances):
    alone = texts_of(model, tokenizer, [[utterance] for utterance in utterances])
    assert texts_of(model, tokenizer, [utterances]) == alone and len(set(alone.values())) > 8


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@torch.no_grad()
def test_decoding_token_by_token_gives_the_logits_of_training(
    config, tokenizer, precision, tolerance, packed, monkeypatch
):
    """With merged weights and a cache, past the ends of windows, while rows end and move."""
    if packed:
        monkeypatch.setattr(decoder_linear, "PACKED_FROM", 0)
    model = tiny.align_model(config).to(precision)
    examples = packs_for(tokenizer)[0]
    batch = collate([examples])
    wanted = [logits[-5:] for logits in model.packed_logits(batch, CHUNK_FRAMES).float().split(batch.text.lengths)]
    speech, _ = model.embed_speech(batch.speech, CHUNK_FRAMES)
    rows = [row[:-4] for row in model.embed_text(batch.text, speech).split(batch.text.lengths)]
    llm = model.llm_family.incremental(model.causal_lm)
    can_pack = precision == torch.float32 or has_kernel(precision)
    assert isinstance(llm._head, decoder_linear._Packed) == (packed and can_pack)
    hidden = llm.add(torch.cat(rows), [len(row) for row in rows], max(map(len, rows)) + 4)
    found = [[row] for row in llm.logits(hidden)]
    kept = [0, 1, 2]
    for step in range(4):
        tokens = [examples[place].transcript[step - 4] for place in kept]
        for place, row in zip(kept, llm.logits(llm.step(torch.tensor(tokens))), strict=True):
            found[place].append(row)
        if step == 1:
            llm.keep([0, 2])
            kept = [0, 2]
    for place, logits in enumerate(found):
        exact = wanted[place][: len(logits)]
        assert (torch.stack(logits) - exact).norm() <= tolerance * exact.norm()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_int8_changes_the_logits_a_little(config, tokenizer, precision):
    model = tiny.align_model(config).to(precision)
    batch = collate(packs_for(tokenizer)[:1])
    speech, _ = model.embed_speech(batch.speech, CHUNK_FRAMES)
    rows = model.embed_text(batch.text, speech)
    plain, rounded = (
        Decoder(model, tokenizer, DecodeConfig(quantize=quantize), CHUNK_FRAMES)._llm for quantize in ("none", "int8")
    )
    wanted, found = (llm.logits(llm.add(rows, batch.text.lengths, max(batch.text.lengths))) for llm in (plain, rounded))
    assert 0.001 < (found - wanted).norm() / wanted.norm() < 0.05


def test_texts_in_int8_do_not_depend_on_the_batch(model, tokenizer, utterances):
    alone = texts_of(model, tokenizer, [[utterance] for utterance in utterances[:4]], quantize="int8")
    assert texts_of(model, tokenizer, [utterances[:4]], quantize="int8") == alone and any(alone.values())


def test_merged_decoding_equals_transformers_generate_with_adapters(model, tokenizer, utterances):
    config = DecodeConfig(tokens_per_s=20.0, tokens_floor=8)
    wanted = transcribe_batch(model, tokenizer, utterances, CHUNK_FRAMES, config)
    found = texts_of(model, tokenizer, [utterances], batch_size=5)
    assert found == {one.utt_id: text for one, text in zip(utterances, wanted, strict=True)}


def test_beam_search_does_not_depend_on_the_batch(model, tokenizer, utterances):
    alone = texts_of(model, tokenizer, [[utterance] for utterance in utterances[:4]], beam=3)
    assert texts_of(model, tokenizer, [utterances[:4]], beam=3) == alone and any(alone.values())


@pytest.fixture(scope="module")
def training(config, tmp_path_factory) -> Path:
    return finished_training(config, tmp_path_factory.mktemp("exp"))


@torch.no_grad()
def test_a_bundle_and_a_merged_model_give_the_same_logits(training, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened = load_pretrained(training)
    batch = collate([packs_for(tokenizer)[0]])
    wanted = opened.model.packed_logits(batch, CHUNK_FRAMES)
    write_bundle(training, tmp_path / "model.zip")
    assert torch.equal(load_pretrained(tmp_path / "model.zip").model.packed_logits(batch, CHUNK_FRAMES), wanted)
    write_peft(opened, ["de"], tmp_path / "peft", "base")
    assert (tmp_path / "peft/de/adapter_model.safetensors").is_file()
    write_merged(opened, "de", tmp_path / "merged")
    torch.testing.assert_close(
        load_merged(tmp_path / "merged").packed_logits(batch, CHUNK_FRAMES), wanted, rtol=1e-3, atol=1e-3
    )


def test_its_end_token_and_beginning_are_its_own(family, tokenizer):
    wanted = {"llama": "<|eot_id|>", "gemma3_text": "<eos>", "mistral": "</s>"}.get(family, "<|im_end|>")
    assert tokenizer.convert_ids_to_tokens(end_id(tokenizer)) == wanted
    prompt = prompt_ids(tokenizer, tiny.table()["de"])
    assert (prompt[0] == tokenizer.bos_token_id) == (wanted != "<|im_end|>")
    assert tokenizer.decode(prompt, skip_special_tokens=True) == tiny.table()["de"].prompt


def test_speech_starts_at_the_scale_of_the_embeddings(config, tokenizer):
    model = build_model(config)
    batch = collate(packs_for(tokenizer))
    with torch.no_grad():
        speech, _ = model.embed_speech(batch.speech, CHUNK_FRAMES)
        text = model.causal_lm.get_input_embeddings()(torch.arange(200))
    assert 0.4 < speech.square().mean().sqrt() / text.square().mean().sqrt() < 2.5


def test_its_sizes_are_known_without_weights(family, config):
    empty, full = build_empty_model(config), build_model(config)
    assert count_parameters(empty).total == count_parameters(full).total
    known, sizes = find_llm(config.llm)
    assert known is LLMS[family]
    lora = sum(p.numel() for name, p in full.named_parameters() if "lora_" in name)
    assert lora == config.llm_lora.rank * known.lora_widths(sizes)
