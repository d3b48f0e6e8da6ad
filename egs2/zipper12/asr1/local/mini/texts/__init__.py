"""Sentences for synthetic speech: the written transcript, and the input of the synthesiser.

In: a language, a count, a seed, and one of two disjoint sets of sentence patterns. Out: unique `Sentence`s. Lexicon and
patterns of a language are one text file in this directory (`en.txt`, ...; grammar.py describes the format). Patterns
instead of a language model give grammatical sentences with correct pronunciation, but little variety.
"""

from local.mini.texts.generate import PATTERN_SETS, Sentence, make_salad, make_sentences

__all__ = ["PATTERN_SETS", "Sentence", "make_salad", "make_sentences"]
