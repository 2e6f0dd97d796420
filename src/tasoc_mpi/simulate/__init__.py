"""TESS-like data whose truth is known."""
