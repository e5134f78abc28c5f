"""The gates' rules: pure functions from a measurement to one answer each. What is missing never passes."""
