"""What every component shares: errors, settings, artifacts, and the reading of examples and models."""
