"""Models: where stars move, how light spreads over pixels, when it arrives, geometry on the sky."""
