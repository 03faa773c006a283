"""The tap beside its peers, in one run on the same simulated pages."""
