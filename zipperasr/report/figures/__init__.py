"""One module per figure; each takes data that is already read and a path to write."""
