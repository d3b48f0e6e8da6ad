"""The same training step in three implementations: ours, transformers' layers per utterance, and padded batches.

Input: one batch of utterances. Output: the loss summed over the labels, with gradients accumulated. The first two
share the model and compute the same function; the third does not, because its encoder attends to padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3ForCausalLM
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from zipperasr.audio.segments import cut
from zipperasr.batching.batch import Example, collate
from zipperasr.model.backbones.qwen3 import Qwen3
from zipperasr.model.projector import GatedProjector
from zipperasr.model.speech_llm import SpeechLLM

IGNORED = -100
WINDOW_FRAMES = 3000  # the number of mel frames that WhisperEncoder requires


@dataclass
class Ours:
    """Packed utterances, concatenated without padding."""

    model: SpeechLLM
    packs: Sequence[Sequence[Example]]
    chunk_frames: int | None
    name: str = "ours"

    def __post_init__(self) -> None:
        self.batch = collate(self.packs)

    def step(self) -> Tensor:
        device = self.model.causal_lm.device
        loss, _, _ = self.model(self.batch.to(device), self.chunk_frames)
        loss.backward()
        return loss.detach()


@dataclass
class OneByOne:
    """transformers' layers and language-model loss, one utterance at a time, with the same encoder chunks."""

    model: SpeechLLM
    packs: Sequence[Sequence[Example]]
    chunk_frames: int | None
    name: str = "HF layers, one utterance at a time"

    def step(self) -> Tensor:
        return sum(self._utterance(example) for pack in self.packs for example in pack)

    def _utterance(self, example: Example) -> Tensor:
        model, device = self.model, self.model.causal_lm.device
        mel = example.mel.to(device, model.encoder.whisper.conv1.weight.dtype)
        if model.adapters is not None:
            model.adapters.set_batch([example.language], [1])
        longest = self.chunk_frames or model.encoder.max_mel_frames
        pieces = cut(len(mel), longest)
        whole = mel[: longest * (len(mel) // longest)].unflatten(0, (-1, longest)) if pieces[0] == longest else None
        rest = mel[-pieces[-1] :][None] if pieces[-1] < longest else None
        frames = torch.cat([self._encode(part).flatten(0, 1) for part in (whole, rest) if part is not None])
        speech, _ = model.projector(frames, [len(frames)])
        loss = _utterance_loss(model.llm, [example], [speech])
        loss.backward()
        return loss.detach()

    def _encode(self, mel: Tensor) -> Tensor:
        """Run transformers' own layers. mel: (segments, frames, bins), segments of equal length."""
        whisper = self.model.encoder.whisper
        hidden = functional.gelu(whisper.conv1(mel.transpose(1, 2)))
        hidden = functional.gelu(whisper.conv2(hidden)).transpose(1, 2)
        hidden = hidden + whisper.embed_positions.weight[: hidden.shape[1]]
        for layer in whisper.layers:
            output = layer(hidden, None)
            hidden = output[0] if isinstance(output, tuple) else output
        return whisper.layer_norm(hidden)


@dataclass
class Peers:
    """What other toolkits do: 30 s encoder windows, PEFT's LoRA, text padded to the longest, logits at all positions.

    One optimisation is granted: speech positions beyond the end of the utterance do not enter the LLM.
    """

    whisper: nn.Module
    projector: GatedProjector
    llm: nn.Module
    packs: Sequence[Sequence[Example]]
    batch_size: int
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"padded batches of {self.batch_size} utterances"

    @classmethod
    def on(cls, whisper: WhisperEncoder, llm: Qwen3ForCausalLM, phase: str, ours: SpeechLLM, **more) -> Peers:
        """Add PEFT's LoRA of the same rank to separate backbones, and freeze the parameters that the phase freezes."""
        rank = ours.llm.peft_config["default"].r
        if phase == "sft":
            targets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
            whisper = get_peft_model(whisper, PeftLoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
        llm = get_peft_model(llm, PeftLoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(Qwen3.lora_targets)))
        shape = ours.projector
        projector = GatedProjector(shape.gate.in_channels, shape.linear.in_features, shape.out.out_features)
        return cls(whisper, projector.to(llm.device, llm.dtype), llm, **more)

    def parameters(self) -> list[nn.Parameter]:
        return [p for part in (self.whisper, self.projector, self.llm) for p in part.parameters() if p.requires_grad]

    def step(self) -> Tensor:
        examples = [example for pack in self.packs for example in pack]
        batches = [examples[i : i + self.batch_size] for i in range(0, len(examples), self.batch_size)]
        return sum(self._batch(batch) for batch in batches)

    def _batch(self, examples: Sequence[Example]) -> Tensor:
        device, dtype = self.llm.device, self.llm.dtype
        mel = torch.stack([functional.pad(e.mel, (0, 0, 0, WINDOW_FRAMES - len(e.mel))) for e in examples])
        frames = self.whisper(mel.transpose(1, 2).to(device, dtype)).last_hidden_state
        speech = [self.projector(one, [len(one)])[0] for one in frames]
        loss = _utterance_loss(
            self.llm, examples, [s[: e.speech_positions] for s, e in zip(speech, examples, strict=True)]
        )
        loss.backward()
        return loss.detach()


def _utterance_loss(llm: nn.Module, examples: Sequence[Example], speech: Sequence[Tensor]) -> Tensor:
    """transformers' own loss, summed over the labels; rows are right-padded to the longest and masked."""
    embed = llm.get_input_embeddings()
    rows, labels = [], []
    for example, part in zip(examples, speech, strict=True):
        prompt, transcript = (torch.tensor(ids, device=part.device) for ids in (example.prompt, example.transcript))
        rows.append(torch.cat([embed(prompt), part.to(embed.weight.dtype), embed(transcript)]))
        ignored = transcript.new_full((len(prompt) + len(part),), IGNORED)
        labels.append(torch.cat([ignored, transcript]))
    pad = nn.utils.rnn.pad_sequence
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(rows[0].device, torch.long)
    count = sum(len(example.transcript) for example in examples)
    output = llm(
        inputs_embeds=pad(rows, batch_first=True),
        attention_mask=None if len(rows) == 1 else mask,
        labels=pad(labels, batch_first=True, padding_value=IGNORED),
        use_cache=False,
    )
    return output.loss * count
