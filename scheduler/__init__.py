"""The program of rank 0: hands out stars, collects results, writes the work list."""
