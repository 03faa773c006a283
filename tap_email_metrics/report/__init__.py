"""A report of the marts that `transform/` builds: one HTML file that loads nothing."""
