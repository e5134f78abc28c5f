"""Recipes by accuracy: the smallest file that loses no more than it may."""
