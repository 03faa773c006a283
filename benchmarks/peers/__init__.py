"""The peers, each written as its own documentation shows; run as scripts."""
