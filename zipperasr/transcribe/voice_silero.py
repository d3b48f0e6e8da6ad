"""The voice detector silero-vad (https://github.com/snakers4/silero-vad, MIT), for 16 kHz.

The network is written out here for the weights that the package contains as safetensors: TorchScript, its main format,
holds code and is deprecated, and computes the windows of a recording one by one, ten times slower.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from zipperasr.audio.loudness import FRAME
from zipperasr.transcribe.stream_endpoints import HOP

WINDOW, CONTEXT = 512, 64  # samples of a window, and before it, that the network sees
SPECTRUM, STRIDE, BINS, WIDTH = 256, 128, 129, 128
BEGINS, ENDS = 0.5, 0.35  # probabilities at which speech begins and ends; the package's defaults
WEIGHTS = "silero_vad_16k.safetensors"


class SileroNet(nn.Module):
    """Probability of speech in consecutive windows."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, SPECTRUM, STRIDE, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, WIDTH, 3, padding=1)
        self.lstm = nn.LSTM(WIDTH, WIDTH)
        self.final_conv = nn.Conv1d(WIDTH, 1, 1)

    def forward(self, windows: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """windows: (windows, CONTEXT + WINDOW); state: of the LSTM. Returns (windows,), and the new state."""
        padded = functional.pad(windows[:, None], (0, SPECTRUM - STRIDE - CONTEXT), "reflect")
        real, imaginary = self.stft_conv(padded).split(BINS, 1)
        hidden = (real.square() + imaginary.square()).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            hidden = layer(hidden).relu()
        hidden, state = self.lstm(hidden.mT, state)
        return self.final_conv(hidden.relu().mT).sigmoid().flatten(), state


class SileroStream:
    """Decides which frames of one stream are voiced, block after block."""

    def __init__(self, net: SileroNet):
        self._net = net
        self._state: tuple[Tensor, Tensor] | None = None
        self._context = torch.zeros(CONTEXT)
        self._speaking = False

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """samples: a multiple of `HOP`. Returns for each frame of 20 ms whether it is voiced."""
        if not len(samples):
            return np.zeros(0, dtype=bool)
        audio = torch.cat([self._context, torch.from_numpy(samples)])
        self._context = audio[-CONTEXT:]
        probabilities, self._state = self._net(audio.unfold(0, CONTEXT + WINDOW, WINDOW), self._state)
        speaking = np.array([self._update(probability) for probability in probabilities.tolist()])
        centers = np.arange(len(samples) // FRAME) * FRAME + FRAME // 2
        return speaking[centers // WINDOW]

    def _update(self, probability: float) -> bool:
        self._speaking = probability >= (ENDS if self._speaking else BEGINS)
        return self._speaking


class Silero:
    """The detector for whole recordings and for streams."""

    def __init__(self, net: SileroNet):
        self._net = net

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """samples: (num_samples,). Returns for each frame of 20 ms, the last may be shorter, whether it is voiced."""
        padded = np.pad(samples, (0, -len(samples) % HOP))
        return self.stream()(padded)[: -(-len(samples) // FRAME)]

    def stream(self) -> SileroStream:
        """Start a stream, independent of others."""
        return SileroStream(self._net)


def load_silero() -> Silero:
    """Load the weights of the installed package, without importing it. Raises ValueError if it is not installed."""
    package = find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise ValueError("the voice detector silero is not installed; pip install -e '.[vad]', or use --vad energy")
    weights = load_file(Path(package.submodule_search_locations[0]) / "data" / WEIGHTS)
    net = SileroNet()
    for name in [name for name in weights if name.startswith("lstm_cell.")]:
        weights[f"{name.replace('lstm_cell', 'lstm')}_l0"] = weights.pop(name)
    net.load_state_dict(weights)
    return Silero(net.eval())
