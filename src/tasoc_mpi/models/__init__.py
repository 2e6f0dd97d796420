"""Models: the motion of the stars on a CCD, the pixel response, barycentric times."""
