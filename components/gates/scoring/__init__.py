"""Scoring: one Beam job that asks every model about every holdout example, and the table that it writes."""
