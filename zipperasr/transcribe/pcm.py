"""Raw 16-bit little-endian mono samples at any rate to 16 kHz float32, as they arrive."""

from __future__ import annotations

import numpy as np
import soxr

from zipperasr.audio.load import SAMPLE_RATE

_NOTHING = np.zeros(0, dtype=np.float32)


class PcmReader:
    """Converts the bytes of one stream at `rate`; blocks may end within a sample."""

    def __init__(self, rate: int = SAMPLE_RATE):
        self._half = b""  # the first byte of a sample whose second byte has not arrived
        self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32") if rate != SAMPLE_RATE else None

    def read(self, data: bytes) -> np.ndarray:
        """Return what is ready of (num_samples,)."""
        data = self._half + data
        whole = len(data) // 2 * 2
        self._half = data[whole:]
        samples = np.frombuffer(data[:whole], dtype="<i2").astype(np.float32) / 32768
        return samples if self._resampler is None else self._resampler.resample_chunk(samples)

    def flush(self) -> np.ndarray:
        """Return what the resampler has kept back; the next block starts another recording."""
        self._half = b""
        if self._resampler is None:
            return _NOTHING
        rest = self._resampler.resample_chunk(_NOTHING, last=True)
        self._resampler.clear()
        return rest
