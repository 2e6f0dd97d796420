"""The work list: the stars to be computed, the logs of their results, and what is published of both."""
