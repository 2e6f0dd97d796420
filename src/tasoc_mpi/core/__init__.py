"""Words and small mechanisms that every other room uses."""
