"""The simulated LuxSci account."""
