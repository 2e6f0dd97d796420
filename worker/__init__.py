"""The program of every other rank: photometry of the stars that rank 0 hands out."""
