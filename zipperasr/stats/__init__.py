"""How sure a score is: intervals of error rates, and tests between systems."""
