"""Settings: their schema, their checks, and what they are parsed into."""
