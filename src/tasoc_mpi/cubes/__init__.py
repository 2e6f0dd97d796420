"""From full frame images to cubes, and the pixel response of their stars."""
