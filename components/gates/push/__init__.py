"""The push: what lets a variant into the serving folder, what serves there, and the way back."""
