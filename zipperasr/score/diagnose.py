"""Flag faulty hypotheses: empty output, loops, bursts of insertions, another script or language, chat replies.

In: one scored utterance and its language. Out: a subset of `FLAGS`. A fault counts only if the reference does not have
it too, so that utterances which themselves repeat words or mix scripts are not flagged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import regex

from zipperasr.output_faults import LOOP_TIMES, is_chat_like, longest_loop

FLAGS = ("empty", "loop", "burst", "script", "language", "chat")
BURST = 5  # consecutive insertions
SURE = 0.9  # probability from which a language counts as identified
OF_COMPOUND = {"Jpan": ("Hani", "Hira", "Kana"), "Kore": ("Hang",), "Hans": ("Hani",), "Hant": ("Hani", "Bopo")}


class Diagnosis:
    """Flags hypotheses of one language, given the languages it may be confused with."""

    def __init__(self, code: str, others: Sequence[str]):
        """code: the language. others: codes of all languages; those that share a script with it are distinguished."""
        self.code = code
        self._scripts = scripts_of(code)
        self._rivals = tuple(sorted({code, *(other for other in others if self._scripts & scripts_of(other))}))

    def flags(
        self, reference: Sequence[str], hypothesis: Sequence[str], operations: str, raw: tuple[str, str]
    ) -> list[str]:
        """The names that apply, in the order of FLAGS.

        reference, hypothesis: units after normalisation; operations: a string of C, S, D, I; raw: reference and
        hypothesis before normalisation.
        """
        raw_reference, raw_hypothesis = raw
        code = self.code
        checks: dict[str, Callable[[], bool]] = {
            "empty": lambda: bool(reference) and not hypothesis,
            "loop": lambda: longest_loop(hypothesis).times >= max(LOOP_TIMES, 1 + longest_loop(reference).times),
            "burst": lambda: "I" * BURST in operations,
            "script": lambda: (
                is_in_foreign_script(raw_hypothesis, code) and not is_in_foreign_script(raw_reference, code)
            ),
            "language": lambda: self._is_confused(raw_reference, raw_hypothesis),
            "chat": lambda: is_chat_like(raw_hypothesis) and not is_chat_like(raw_reference),
        }
        return [name for name in FLAGS if checks[name]()]

    def _is_confused(self, reference: str, hypothesis: str) -> bool:
        """True if the hypothesis is surely in another language of this script, the reference surely in this one."""
        if not hypothesis or surest_language(hypothesis, self._rivals) in (None, self.code):
            return False
        return surest_language(reference, self._rivals) == self.code


def is_in_foreign_script(text: str, code: str) -> bool:
    """True if more than half of the letters belong to scripts in which the language is not written."""
    letters, scripts = regex.findall(r"\p{L}", text), scripts_of(code)
    own = sum(len(regex.findall(rf"[\p{{L}}&&\p{{Script={script}}}]", text, regex.V1)) for script in scripts)
    return bool(scripts) and 2 * own < len(letters)


@functools.cache
def scripts_of(code: str) -> frozenset[str]:
    """ISO 15924 codes of a language's scripts (CLDR's likely subtags); empty for an unknown language."""
    from babel.core import get_global

    subtags = get_global("likely_subtags").get(code.replace("-", "_"))
    script = subtags.split("_")[1] if subtags else None
    return frozenset(OF_COMPOUND.get(script, (script,))) if script else frozenset()


def surest_language(text: str, among: tuple[str, ...]) -> str | None:
    """The language of a text by langid.py's model (Lui and Baldwin, ACL 2012).

    None if its probability is below SURE, or if `among` has fewer than two languages that the model knows.
    """
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
