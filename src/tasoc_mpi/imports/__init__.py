"""Cubes from the files of others: the TASOC pipeline, MAST, TESSCut."""
