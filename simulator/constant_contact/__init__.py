"""The simulated Constant Contact account."""
