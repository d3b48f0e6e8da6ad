"""A trained model in use: any audio to text, in a known language or an unknown one."""

from zipperasr.transcribe.transcriber import Segment, Transcriber, Transcript

__all__ = ["Segment", "Transcriber", "Transcript"]
