"""A report of the marts that `transform/` makes: one HTML file that loads nothing."""
