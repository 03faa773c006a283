"""Settings: schema, checks and parsed values."""
