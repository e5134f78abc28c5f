"""The graph on Vertex AI: what of it TFX's compiler for Vertex carries, and that compiled."""
