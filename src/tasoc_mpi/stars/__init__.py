"""From tables of stars to the catalog of every CCD."""
