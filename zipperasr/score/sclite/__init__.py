"""NIST's sclite for transcripts in the trn form: the same alignments and the same reports, byte by byte.

In: reference and hypotheses. Out: summary tables, alignments, lists of errors. `python -m zipperasr.score.sclite` takes
sclite's options; stage 8 writes its result.txt by the same code.
"""
