"""Statistics of private examples, with noise and charged: see `pipeline.graph` for where they stand."""
