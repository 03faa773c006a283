"""One run: its settings, state and output, its report, and the APIs that it opens."""
