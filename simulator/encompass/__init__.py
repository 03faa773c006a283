"""The simulated Encompass site."""
