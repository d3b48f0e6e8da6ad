"""An LLM and an encoder added at run time, as by a plug-in: one class and one registry entry each are enough."""

from __future__ import annotations

import shutil

import pytest
import torch
from transformers import Olmo2Config, Olmo2ForCausalLM, WhisperConfig

from tests.model import tiny
from tests.model.test_experiment import finish
from zipperasr.batching.batch import collate
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbones import ENCODERS, LLMS, load_tokenizer
from zipperasr.model.backbones.causal_llm import CausalLLM, decoder_sizes
from zipperasr.model.backbones.whisper import WHISPER_SIZES, WhisperSpeechEncoder
from zipperasr.model.build import build_empty_model, build_model, set_trainable
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training, load_model
from zipperasr.model.prompt import end_id
from zipperasr.model.sizes import SizeRules
from zipperasr.plan.activations import MicroBatch, count_activations
from zipperasr.plan.flops import Lengths, step_flops
from zipperasr.plan.parameters import count_parameters

END = "<|stop|>"


class Olmo2(CausalLLM):
    """Its norms follow attention and MLP instead of preceding them; our fast decoding does not support that."""

    size_rules = decoder_sizes(Olmo2Config)
    model_class = Olmo2ForCausalLM
    end_token = END


@pytest.fixture
def config(backbones, tmp_path, monkeypatch):
    """The tiny model's configuration with an Olmo2 instead of a Qwen3."""
    monkeypatch.setitem(LLMS, "olmo2", Olmo2)
    tokenizer = tiny.byte_tokenizer(["<|endoftext|>", "<|start|>", END])
    torch.manual_seed(3)
    llm = Olmo2ForCausalLM(
        Olmo2Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, initializer_range=0.2, eos_token_id=tokenizer.eos_token_id,
            max_position_embeddings=4096,
        )
    )  # fmt: skip
    tiny.shake_vectors(llm)
    llm.save_pretrained(tmp_path / "olmo2")
    tokenizer.save_pretrained(tmp_path / "olmo2")
    return tiny.model_config(backbones, llm=str(tmp_path / "olmo2"))


def test_its_loss_falls_and_its_model_reloads(config, tmp_path):
    experiment = Experiment("align", "chunked", None, None, tiny.CODES, 1, config)
    model, batch = build_for_training(experiment, torch.float32, seed=1), collate(tiny.two_packs())
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(8):
        loss, stats, weight = model(batch, 50)
        (loss / weight).backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(stats["loss"].item())
    assert losses[-1] < losses[0] - 0.2
    finish(experiment, model, tmp_path / "align")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "align").packed_logits(batch, 50), model.packed_logits(batch, 50))


@torch.no_grad()
def test_packed_utterances_do_not_attend_to_each_other(config):
    model, (german, _) = tiny.align_model(config), tiny.two_packs()
    together = model.packed_logits(collate([german]), 50)
    alone = torch.cat([model.packed_logits(collate([[example]]), 50) for example in german])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_it_decodes_with_generate(config, beam):
    model, tokenizer = tiny.align_model(config), load_tokenizer(config.llm)
    assert model.llm_family is Olmo2 and tokenizer.convert_ids_to_tokens(end_id(tokenizer)) == END
    examples = [
        tiny.example(name, "de", samples, "", seed) for name, samples, seed in (("a", 9000, 1), ("b", 21_111, 2))
    ]
    decoder = Decoder(model, tokenizer, DecodeConfig(beam=beam, tokens_floor=4, tokens_per_s=4.0), 50)
    together = [found.text for found in decoder.run([examples])]
    assert together == [next(decoder.run([[example]])).text for example in examples]
    assert any(together)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quantize": "int8"}, "quantize: int8 needs an LLM with fast decoding; set quantize=none"),
        ({"cuda_graphs": True}, "cuda_graphs: true needs an LLM with fast decoding; set cuda_graphs=false"),
    ],
)
def test_options_of_fast_decoding_are_refused_without_it(config, given, message):
    with pytest.raises(ValueError, match=message):
        Decoder(tiny.align_model(config), load_tokenizer(config.llm), DecodeConfig(**given), 50)


def test_its_sizes_are_checked_and_counted(config, tmp_path):
    model = build_empty_model(config)
    set_trainable(model, "align")
    assert count_parameters(model).total == count_parameters(build_model(config)).total
    batch = MicroBatch(packs=2, max_positions=64, speech_positions=40, labels=20, flash_attention=True)
    assert count_activations(model, config, "align", batch, 4).peak > 0
    assert step_flops(model, "align", Lengths([50, 50], [30, 34], 20)).llm > 0
    shutil.copytree(tmp_path / "olmo2", tmp_path / "other")
    text = (tmp_path / "other/config.json").read_text()
    (tmp_path / "other/config.json").write_text(text.replace('"olmo2"', '"qwen4"'))
    with pytest.raises(ValueError, match=r"got model_type 'qwen4', wanted 'qwen3' or .* or 'olmo2'"):
        load_tokenizer(str(tmp_path / "other"))


class EarsConfig(WhisperConfig):
    """Whisper's configuration under another name."""

    model_type = "ears"


class Ears(WhisperSpeechEncoder):
    """An encoder of another family, without a decoder that could provide language embeddings."""

    size_rules = SizeRules(EarsConfig, WHISPER_SIZES.keys, WHISPER_SIZES.num_parameters)
    module_name = "ears"
    lora_targets = ("layers.*.fc1",)

    @property
    def whisper(self):
        return self.ears

    @classmethod
    def load(cls, path: str, dtype: torch.dtype) -> Ears:
        from safetensors.torch import load_file
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        encoder = WhisperEncoder(EarsConfig.from_pretrained(path))
        tensors = load_file(f"{path}/model.safetensors").items()
        start = "model.encoder."
        encoder.load_state_dict({name.removeprefix(start): t for name, t in tensors if name.startswith(start)})
        return cls(encoder.to(dtype))


def test_an_encoder_of_another_family_gets_adapters(backbones, tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "ears", Ears)
    shutil.copytree(backbones, tmp_path / "b")
    path = tmp_path / "b/whisper/config.json"
    path.write_text(path.read_text().replace('"model_type": "whisper"', '"model_type": "ears"'))
    config = tiny.model_config(tmp_path / "b")
    model, batch = tiny.sft_model(config, "independent"), collate(tiny.two_packs())
    assert {name.split(".")[1] for name, _ in model.encoder.named_parameters(prefix="encoder")} == {"ears"}
    assert set(model.adapted_layers) == {f"encoder.ears.layers.{number}.fc1" for number in range(3)}
    assert {name for name, p in model.named_parameters() if name.startswith("encoder.") and p.requires_grad} == {
        f"{layer}.{factor}_specific" for layer in model.adapted_layers for factor in "ab"
    }
    assert model(batch, 50)[0].isfinite()
    with pytest.raises(ValueError, match="whisper: no language embeddings for model_type ears; set lid_whisper in"):
        language_token_ids(config.whisper, tiny.table())
