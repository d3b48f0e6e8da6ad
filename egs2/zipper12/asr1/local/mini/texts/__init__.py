"""Sentences for synthetic speech: what a corpus would write, and what the synthesiser is told to say.

In: a language, a count, a seed, and one of two disjoint sets of sentence patterns. Out: unique `Sentence`s.
Lexicon and patterns are one readable file per language beside this one (`en.txt`, ...; grammar.py has the form).
Trade-off: patterns, not a language model, so sentences are grammatical and voiced right, but stiff.
"""

from local.mini.texts.generate import PATTERN_SETS, Sentence, make_salad, make_sentences

__all__ = ["PATTERN_SETS", "Sentence", "make_salad", "make_sentences"]
