"""How requests are sent and limited."""
