"""Settings and small tables that are installed with the package."""
