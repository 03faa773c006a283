"""The state that is kept from run to run."""
