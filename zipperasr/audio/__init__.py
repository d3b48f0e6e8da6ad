"""Stage 2 and features: convert and load audio, Kaldi arks, log-mel features, segment lengths."""
