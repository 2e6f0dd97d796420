"""Batch scripts for SLURM: their templates, the settings of a site, submission, and the queue's view."""
