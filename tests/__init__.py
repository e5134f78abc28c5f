"""A real package, so that a step's process finds `tests.e2e.kubeflow_nodes`: IPython, which TFX imports, puts a `tests`
of its own on the path, and that would stand before a mere folder."""
