"""`python kubeflow/submit.py …` is `lockgate kubeflow …`: run now, schedule, list, pause, resume, delete, wait."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["kubeflow", *sys.argv[1:]])
