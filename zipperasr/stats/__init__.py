"""Significance: intervals of error rates, and tests between systems."""
