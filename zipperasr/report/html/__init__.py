"""report.html: one page to look at scores and errors."""
