"""A trained model behind a local web page and an OpenAI-compatible endpoint."""
