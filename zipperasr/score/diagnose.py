"""What went wrong in a hypothesis beyond its error rate: nothing, a loop, a burst, another script or language.

In: one scored utterance and its language. Out: the names of what was found, a subset of `FLAGS`. Each is counted only
where the reference does not show the same, so that a text that repeats or mixes scripts by itself is not blamed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import regex

from zipperasr.output_faults import LOOP_TIMES, is_chat_like, longest_loop

FLAGS = ("empty", "loop", "burst", "script", "language", "chat")
BURST = 5  # insertions in a row
SURE = 0.9  # probability from which a language counts as recognised
OF_COMPOUND = {"Jpan": ("Hani", "Hira", "Kana"), "Kore": ("Hang",), "Hans": ("Hani",), "Hant": ("Hani", "Bopo")}


class Diagnosis:
    """Looks at hypotheses of one language, among those that a system may confuse it with."""

    def __init__(self, code: str, others: Sequence[str]):
        """code: of the language table. others: its languages' codes; those that share a script are told apart."""
        self.code = code
        self._scripts = scripts_of(code)
        self._rivals = tuple(sorted({code, *(other for other in others if self._scripts & scripts_of(other))}))

    def flags(
        self, reference: Sequence[str], hypothesis: Sequence[str], operations: str, raw: tuple[str, str]
    ) -> list[str]:
        """Names of FLAGS in their order.

        reference, hypothesis: units after normalisation; operations: C S D I of each; raw: both texts before it.
        """
        raw_reference, raw_hypothesis = raw
        checks: dict[str, Callable[[], bool]] = {
            "empty": lambda: bool(reference) and not hypothesis,
            "loop": lambda: longest_loop(hypothesis).times >= max(LOOP_TIMES, 1 + longest_loop(reference).times),
            "burst": lambda: "I" * BURST in operations,
            "script": lambda: self._is_foreign(raw_hypothesis) and not self._is_foreign(raw_reference),
            "language": lambda: self._is_confused(raw_reference, raw_hypothesis),
            "chat": lambda: is_chat_like(raw_hypothesis) and not is_chat_like(raw_reference),
        }
        return [name for name in FLAGS if checks[name]()]

    def _is_foreign(self, text: str) -> bool:
        """More than half of the letters belong to scripts that the language is not written in."""
        letters = regex.findall(r"\p{L}", text)
        own = sum(len(regex.findall(rf"[\p{{L}}&&\p{{Script={script}}}]", text, regex.V1)) for script in self._scripts)
        return bool(self._scripts) and 2 * own < len(letters)

    def _is_confused(self, reference: str, hypothesis: str) -> bool:
        """The hypothesis is surely of another language in this script, the reference surely of this one."""
        if not hypothesis or surest_language(hypothesis, self._rivals) in (None, self.code):
            return False
        return surest_language(reference, self._rivals) == self.code


@functools.cache
def scripts_of(code: str) -> frozenset[str]:
    """ISO 15924 codes of the scripts a language is written in (CLDR's likely subtags); none if it is not known."""
    from babel.core import get_global

    subtags = get_global("likely_subtags").get(code.replace("-", "_"))
    script = subtags.split("_")[1] if subtags else None
    return frozenset(OF_COMPOUND.get(script, (script,))) if script else frozenset()


def surest_language(text: str, among: tuple[str, ...]) -> str | None:
    """The language of a text by langid.py's model (Lui and Baldwin, ACL 2012); None where it is not SURE, or alone."""
    identifier = _identifier(among)
    if identifier is None:
        return None
    code, probability = identifier.classify(text.lower())
    return code if probability >= SURE else None


@functools.cache
def _identifier(among: tuple[str, ...]):
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    if len(among) < 2:
        return None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = [code for code in among if code in identifier.labels]
    if len(known) < 2:
        return None
    identifier.set_languages(known)
    return identifier
