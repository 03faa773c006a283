"""One run: its clock, its report, and the API sessions that it opens."""
