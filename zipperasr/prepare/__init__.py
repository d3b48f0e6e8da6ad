"""Stage 1: data sets of the recipe, selected from the corpora."""
