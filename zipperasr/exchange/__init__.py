"""Export trained models to PEFT, transformers and bundles, and import them from PEFT and other checkpoints."""
