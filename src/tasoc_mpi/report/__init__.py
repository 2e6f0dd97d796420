"""Results of a run as tables and pictures, and their comparison with the truth of a simulation."""
