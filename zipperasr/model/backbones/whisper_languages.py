"""Language embeddings and language detection with a complete Whisper model, by its decoder's language tokens.

In: a Whisper's directory or hub id, log-mel frames. Out: embeddings (d_model,) and logits of languages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperPreTrainedModel

from zipperasr.model.backbone_files import check_backbone, load_backbone, transformers_errors
from zipperasr.model.backbones.speech_encoder import LanguageSource
from zipperasr.model.backbones.whisper import WHISPER_SIZES, WhisperSpeechEncoder


class WhisperTokenEmbedding(WhisperPreTrainedModel):
    """Only the token embedding of a Whisper checkpoint's decoder, `decoder.embed_tokens`."""

    _keys_to_ignore_on_load_unexpected = (
        r"^(model\.)?encoder\.",
        r"^(model\.)?decoder\.(layers|layer_norm|embed_positions)\.",
        r"^proj_out\.",
    )

    def __init__(self, config: WhisperConfig):
        super().__init__(config)
        self.decoder = nn.Module()
        self.decoder.embed_tokens = nn.Embedding(config.vocab_size, config.d_model, config.pad_token_id)
        self.post_init()


class WhisperLanguages(LanguageSource):
    """A WhisperModel whose encoder accepts speech of any length up to 30 s."""

    def __init__(self, whisper: WhisperModel):
        super().__init__()
        self.encoder = WhisperSpeechEncoder(whisper.encoder)
        self.decoder = whisper.decoder
        self.start_id = whisper.config.decoder_start_token_id
        start = torch.tensor([[self.start_id]], device=whisper.device)
        self.register_buffer("start", start, persistent=False)  # copied to the device once: every copy blocks the host

    @classmethod
    def load(cls, path: str, dtype: torch.dtype) -> WhisperLanguages:
        return cls(load_backbone(WhisperModel, path, dtype, WHISPER_SIZES)).eval()

    @classmethod
    def token_ids(cls, path: str, names: Sequence[str]) -> list[int | None]:
        """Id of each token <|name|>; None if this Whisper has no such token."""
        check_backbone(path, [WHISPER_SIZES])
        with transformers_errors(path):
            vocabulary = AutoTokenizer.from_pretrained(path, trust_remote_code=False).get_vocab()
        return [vocabulary.get(f"<|{name}|>") for name in names]

    @classmethod
    def token_embeddings(cls, path: str, ids: Sequence[int]) -> Tensor:
        """Rows of the decoder's token embedding: (languages, d_model)."""
        (weight,) = load_backbone(WhisperTokenEmbedding, path, torch.float32, WHISPER_SIZES).parameters()
        return weight[ids].detach()

    @property
    def mel_bins(self) -> int:
        return self.encoder.mel_bins

    @property
    def max_mel_frames(self) -> int:
        return self.encoder.max_mel_frames

    @torch.no_grad()
    def state_embedding(self, token_id: int, mels: Sequence[Tensor], batch_size: int | None = None) -> Tensor:
        """Mean of the decoder's last hidden state at the language token over utterances: (d_model,), on the CPU.

        mels: (frames, mel bins) each; only the first 30 s are used, none is padded. batch_size: utterances per forward
        pass of the encoder; None: 16, or 1 on a CPU, where larger batches are not faster.
        """
        device, states = self.start.device, []
        prefix = torch.tensor([[self.start_id, token_id]], device=device)
        batch_size = batch_size or (1 if device.type == "cpu" else 16)
        for first in range(0, len(mels), batch_size):
            batch = [mel[: self.max_mel_frames] for mel in mels[first : first + batch_size]]
            hidden, frames = self.encoder(torch.cat(batch).to(device), [len(mel) for mel in batch])
            for utterance in hidden.split(frames):
                decoded = self.decoder(input_ids=prefix, encoder_hidden_states=utterance[None])
                states.append(decoded.last_hidden_state[0, -1])
        return torch.stack(states).mean(0).float().cpu()

    def language_logits(self, mel: Tensor, ids: Tensor) -> Tensor:
        """Logits of the language tokens `ids` after the start token: (languages,), float32. mel: (frames, mel bins)."""
        hidden, _ = self.encoder(mel, [len(mel)])
        decoded = self.decoder(input_ids=self.start, encoder_hidden_states=hidden[None], use_cache=False)
        return (self.decoder.embed_tokens.weight[ids] @ decoded.last_hidden_state[0, -1]).float()
