"""The choice among the variants that passed."""
