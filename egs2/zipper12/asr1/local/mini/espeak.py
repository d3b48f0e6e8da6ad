"""Speech from espeak-ng, called in this process through ctypes.

In: a text of texts/, a language, a `Voice`. Out: int16 mono samples at 16 kHz. Library and data are in the
`espeakng-loader` wheel; nothing is installed on the system. espeak-ng keeps global state: use one `Espeak` per process,
and several processes for speed.
"""

from __future__ import annotations

import ctypes
import random
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

SAMPLE_RATE_HZ = 16000
# the library rejects fr-fr and keeps the previous voice
VOICE_NAMES = {
    "en": "en-us", "fr": "fr", "th": "th", "zh": "cmn", "de": "de", "es": "es", "ru": "ru",
    "vi": "vi", "it": "it", "ar": "ar", "ja": "ja", "ko": "ko", "pt": "pt-br",
    "pl": "pl", "sw": "sw",  # not in languages.tsv; added in docs/extending.md and docs/add_language.md
}  # fmt: skip

# Disjoint sets with female and male voices, so that pretraining, training and tests never share a speaker. With only 12
# pretraining voices, phoneme errors of unseen voices were twice those of seen ones.
VARIANTS = {
    "pretrain": (
        "m1", "m4", "m6", "m8", "f1", "f4", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Henrique", "Jacky",
        "Lee", "Marco", "Mario", "Nguyen", "adam", "anika", "announcer", "antonio", "aunty", "boris", "caleb", "david",
        "ed", "edward", "gustave", "iven", "john", "max", "miguel", "norbert", "paul", "pedro", "shelby", "steph",
        "steph2", "victor",
    ),
    "train": (
        "m2", "m5", "m7", "f2", "f5", "Hugo", "Michael", "Mike", "Reed", "belinda", "benjamin", "grandma", "marcelo",
        "michel", "quincy", "rob", "sandro", "zac",
    ),
    "test": ("m3", "f3", "Diogo", "Gene", "linda"),
}  # fmt: skip
RATES_WPM = (150, 220)
PITCHES = (30, 70)  # espeak's scale, 0-99
GAINS = (0.4, 1.0)
NOISES_DB = (-55.0, -38.0)  # white noise, relative to full scale

# espeak-ng's speak_lib.h
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000  # the callback gets the samples before espeak_Synth returns
_UTF8, _PHONEMES = 0x1, 0x100
_IPA = 0x2
_SEPARATED = ord("_") << 8  # in espeak_TextToPhonemes: separator between phonemes
_STRESS_AND_PAUSE = re.compile(r"[',%=|!ˈˌ]|^[:;]*$")
_RATE, _PITCH = 1, 3
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """One speaker in one recording."""

    variant: str = ""  # espeak voice variant, such as m3; empty for the plain voice
    rate_wpm: int = 180
    pitch: int = 50  # espeak's scale, 0-99
    gain: float = 1.0
    noise_db: float | None = None  # white noise relative to full scale; None: no noise


def draw_voice(rng: random.Random, split: str) -> Voice:
    """Draw a random voice from the variants of 'pretrain', 'train' or 'test'. Raises ValueError."""
    if split not in VARIANTS:
        raise ValueError(f"unknown voice split {split!r}; choose from {', '.join(VARIANTS)}")
    return Voice(
        variant=rng.choice(VARIANTS[split]),
        rate_wpm=rng.randint(*RATES_WPM),
        pitch=rng.randint(*PITCHES),
        gain=round(rng.uniform(*GAINS), 3),
        noise_db=round(rng.uniform(*NOISES_DB), 1),
    )


def voice_name(language: str) -> str:
    """Return espeak-ng's voice of a language. Raises ValueError that says where to add one."""
    if language not in VOICE_NAMES:
        raise ValueError(
            f"no espeak-ng voice for language {language!r}; choose from {', '.join(VOICE_NAMES)}; "
            "or add it to VOICE_NAMES in local/mini/espeak.py"
        )
    return VOICE_NAMES[language]


class Espeak:
    """The espeak-ng library, initialised once per process."""

    _library: ctypes.CDLL | None = None
    _native_rate_hz = 0

    def __init__(self) -> None:
        if Espeak._library is None:
            library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
            rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
            if rate_hz <= 0:
                raise ValueError(
                    f"espeak-ng did not start (code {rate_hz}) with data in {data}; reinstall espeakng-loader"
                )
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            Espeak._library, Espeak._native_rate_hz = library, rate_hz
        self._chunks: list[np.ndarray] = []
        self._callback = _SYNTH_CALLBACK(self._collect)  # keep a reference: the library only has a pointer
        self._variants = {path.name for path in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir()}

    def say(self, spoken: str, language: str, voice: Voice) -> np.ndarray:
        """Speak `spoken`. Returns int16 samples at 16 kHz, mono. Raises ValueError.

        The pitch flutter depends on earlier calls: the same calls in the same order in a new process give the same
        samples; a repeated call in one process differs slightly in pitch and length.
        """
        library = self._select(language, voice.variant)
        library.espeak_SetParameter(_RATE, voice.rate_wpm, 0)
        library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks = []
        code = self._synthesise(spoken)
        if code or not any(chunk.any() for chunk in self._chunks):
            raise ValueError(
                f"espeak-ng produced no sound for {spoken!r} in {language!r} (code {code}); check the text"
            )
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768.0
        samples = soxr.resample(samples, self._native_rate_hz, SAMPLE_RATE_HZ, quality="MQ") * voice.gain
        if voice.noise_db is not None:
            noise = np.random.default_rng(zlib.crc32(f"{spoken}{voice}".encode()))
            samples = samples + noise.standard_normal(len(samples), dtype=np.float32) * 10 ** (voice.noise_db / 20)
        return (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)

    def phoneme_names(self, spoken: str, language: str) -> list[str]:
        """Return the phonemes of `spoken` in espeak-ng's names ("a:", "tS", with tone "a:5"), without stress."""
        return _split_phonemes(self.phonemes(spoken, language, _SEPARATED))

    def ipa(self, spoken: str, language: str) -> list[str]:
        """Return the phonemes of `spoken` in IPA ("aː", "tʃ"; tones are digits), without stress."""
        return _split_phonemes(self.phonemes(spoken, language, _SEPARATED | _IPA))

    def phonemes(self, spoken: str, language: str, mode: int = 0) -> str:
        """Return the phonemes of `spoken` in espeak-ng's notation; mode as in espeak_TextToPhonemes."""
        library = self._select(language, "")
        self._synthesise("[[]]" if spoken.startswith("[[") else "")  # sets whether [[ ]] encloses phonemes
        buffer = ctypes.create_string_buffer(spoken.encode())
        pointer = ctypes.c_void_p(ctypes.addressof(buffer))
        clauses = []
        while pointer.value:
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, mode).decode())
        return " ".join(clauses)

    def _synthesise(self, spoken: str) -> int:
        self._library.espeak_SetSynthCallback(self._callback)  # another object's callback may have been deleted
        text = spoken.encode()
        flags = _UTF8 | (_PHONEMES if spoken.startswith("[[") else 0)
        return self._library.espeak_Synth(text, len(text) + 1, 0, 0, 0, flags, None, None)

    def _collect(self, wave, num_samples: int, _events) -> int:
        if wave and num_samples > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, (num_samples,)).copy())
        return 0

    def _select(self, language: str, variant: str) -> ctypes.CDLL:
        if variant and variant not in self._variants:  # the library would use the plain voice for an unknown variant
            raise ValueError(f"espeak-ng has no variant {variant!r}; choose from {', '.join(sorted(self._variants))}")
        name = voice_name(language) + (f"+{variant}" if variant else "")
        code = self._library.espeak_SetVoiceByName(name.encode())
        if code:
            raise ValueError(f"espeak-ng rejected the voice {name!r} (code {code}); espeakng-loader may be too old")
        return self._library


def _split_phonemes(separated: str) -> list[str]:
    names = re.split(r"[_\s]+", separated)
    return [bare for name in names if (bare := _STRESS_AND_PAUSE.sub("", name))]
