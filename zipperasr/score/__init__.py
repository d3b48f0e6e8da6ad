"""From transcripts to error rates: normalise, align, count, report."""
