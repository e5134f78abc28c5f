"""The pipeline: configuration, the graph, its runners, the report and the command line."""

__version__ = "0.1.0"
