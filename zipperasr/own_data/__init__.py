"""Data of one's own: what a list of utterances contains (`zipperasr data`), and a recipe for it (`zipperasr new`)."""
