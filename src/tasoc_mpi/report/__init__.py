"""Pictures and summaries of what a run made."""
