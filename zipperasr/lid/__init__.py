"""Language embeddings of Whisper, the input of the router."""
