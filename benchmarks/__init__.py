"""Compares the tap with similar programs on the same simulated pages."""
