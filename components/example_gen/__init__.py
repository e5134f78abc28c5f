"""Examples: which splits play which role, and the structural check before anything is trained on."""
