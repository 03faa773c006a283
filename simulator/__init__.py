"""The vendors' APIs as one local world with a clock, faults and ground truth."""
