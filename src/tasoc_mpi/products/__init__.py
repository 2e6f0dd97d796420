"""Files in and out, each format in one module."""
