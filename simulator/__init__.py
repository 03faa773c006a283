"""The APIs of the three vendors, simulated with a clock, faults and the truth."""
