"""From a vendor's rows to records and Singer messages."""
