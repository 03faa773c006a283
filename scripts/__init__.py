"""Commands for work on the tap: the demo, the soak, and the generated files."""
