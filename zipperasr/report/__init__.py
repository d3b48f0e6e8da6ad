"""Reports: RESULTS.md, CLAIMS.md, figures and report.html from scores and logs."""
