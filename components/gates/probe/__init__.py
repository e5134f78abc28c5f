"""Probing: what a file does where it would serve, in a process that has nothing of ours."""
