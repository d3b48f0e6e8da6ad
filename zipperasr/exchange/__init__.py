"""The trained model in and out of other tools' formats: PEFT, transformers, packed zips, foreign checkpoints."""
