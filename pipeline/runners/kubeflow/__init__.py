"""The graph on open-source Kubeflow Pipelines: compiled to its IR, a process a node, MLMD on a server."""
