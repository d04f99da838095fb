"""`report.html` of a run, its charts, and drawings of rankings and part maps."""
