"""Systematics of light curves: vectors that the stars of an area have in common, and their subtraction."""
