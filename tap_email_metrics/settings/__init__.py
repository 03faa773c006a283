"""Settings: one table each, parsed once."""
