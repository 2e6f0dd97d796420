"""The commands of the command line, each parsed and run by one module."""
