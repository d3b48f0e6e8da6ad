"""Stage 3 and loading: manifests, packs, batches."""
