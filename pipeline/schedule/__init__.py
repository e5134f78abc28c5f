"""Retraining that nobody has to watch: what is due, when, what is said about it, and what is thrown away."""
