"""Language embeddings, detection and transcripts on the simulated GPU equal the CPU's."""

from __future__ import annotations

import pytest
import torch

from tests.model import tiny
from tests.transcribe.conftest import SHORT, trained
from tests.transcribe.sound import noise
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbones.whisper_languages import WhisperLanguages
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.sources import Recording

__all__ = ["trained"]


def test_state_embeddings_equal_the_cpus(gpu, backbones):
    whisper = str(backbones / "whisper")
    ids = language_token_ids(whisper, tiny.table())
    mels = [tiny.random_mel(frames, seed=frames) for frames in (30, 71, 100)]
    found = {}
    for device in ("cpu", "cuda"):
        source = WhisperLanguages.load(whisper, torch.float32).to(device)
        found[device] = torch.stack([source.state_embedding(token_id, mels) for token_id in ids[:3]])
    assert found["cuda"].device.type == "cpu"
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_transcripts_with_detected_languages_equal_the_cpus(gpu, trained, soft):
    """Detection waits twice per recording: for the probabilities, and when transformers reads the decoder's mask."""
    recordings = [Recording(f"r{number}", noise(0.5 + 0.3 * number, number)) for number in range(3)]
    on_cpu, on_gpu = (Transcriber.from_pretrained(trained, device, SHORT, soft=soft) for device in ("cpu", None))
    assert on_gpu.opened.model.causal_lm.device.type == "cuda"
    assert on_gpu.detector.codes == on_cpu.detector.codes  # loads the model
    next(on_gpu.transcribe(recordings[:1]))  # copies the mel filters once
    gpu.waits.clear()
    for (_, found), (_, wanted) in zip(on_gpu.transcribe(recordings), on_cpu.transcribe(recordings), strict=True):
        assert (found.text, found.lang) == (wanted.text, wanted.lang)
        assert found.lang_probs == pytest.approx(wanted.lang_probs, abs=1e-5)
    assert sum("detect.py" in wait.place or "whisper_languages.py" in wait.place for wait in gpu.waits) == 2 * len(
        recordings
    )
