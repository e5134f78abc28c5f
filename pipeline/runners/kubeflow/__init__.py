"""The graph on open-source Kubeflow Pipelines: its IR, a process a step, MLMD on a server; and the client."""
