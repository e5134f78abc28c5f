"""The graph on open-source Kubeflow Pipelines: compiled to its IR, a process a step, MLMD on a server; and its client."""
