"""The kinds of streams: lists, fan-out, windows, and those about the run."""
