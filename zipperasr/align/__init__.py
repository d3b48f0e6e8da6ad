"""Word times: a CTC head on the frozen, trained encoder, and the alignment of a text with its speech."""
