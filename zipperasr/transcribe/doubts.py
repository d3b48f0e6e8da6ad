"""Reasons to doubt the text of a segment: a loop, a chat reply, another script, improbable tokens.

The same detectors count faults in the report (score/diagnose.py); here there is no reference to compare with.
"""

from __future__ import annotations

from zipperasr.score.diagnose import is_in_foreign_script
from zipperasr.transcribe.transcript import Segment

LOW_LOGPROB = -1.0  # of an average token; Whisper's threshold, below which it decodes again


def doubts(segment: Segment, lang: str) -> list[str]:
    """Reasons in a few words each; empty if there are none, or no text. lang: the language of the recording."""
    if not segment.text:
        return []
    reasons = [segment.note] if segment.note else []
    if is_in_foreign_script(segment.text, lang):
        reasons.append("not in the language's script")
    if segment.avg_logprob is not None and segment.avg_logprob < LOW_LOGPROB:
        reasons.append("low probability according to the model")
    return reasons
