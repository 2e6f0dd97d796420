"""From the archives of TESS to an input folder: which files there are, and their transfer."""
