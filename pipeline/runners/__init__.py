"""Ways to run the graph."""
