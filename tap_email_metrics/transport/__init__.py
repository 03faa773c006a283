"""HTTP requests and their limits."""
