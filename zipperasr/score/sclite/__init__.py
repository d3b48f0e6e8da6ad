"""NIST's sclite for transcripts in trn format: the same alignments and reports, byte for byte.

In: reference and hypotheses. Out: summary tables, alignments, lists of errors. `python -m zipperasr.score.sclite` takes
sclite's options; stage 8 writes result.txt with the same code. Needs nothing else of the project but `zipperasr.cli`.
"""
