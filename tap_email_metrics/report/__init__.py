"""The report of the marts in `transform/`: one HTML file that loads nothing."""
