"""From scores and logs to RESULTS.md and figures."""
