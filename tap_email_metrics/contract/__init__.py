"""The contract of an API: open questions, and probes that ask a live account."""
