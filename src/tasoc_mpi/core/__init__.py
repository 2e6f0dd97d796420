"""Terms and mechanisms that all rooms use: statuses, settings, messages, files, locks, the sphere."""
