"""Singer tap for email marketing metrics."""
