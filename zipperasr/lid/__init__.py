"""Language embeddings, the input of the router."""
