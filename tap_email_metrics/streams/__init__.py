"""The shapes of stream."""
