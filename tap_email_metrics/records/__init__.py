"""How rows become records and messages."""
