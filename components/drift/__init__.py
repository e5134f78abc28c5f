"""Drift between spans, on what is public of them."""
