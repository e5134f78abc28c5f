"""`lockgate kubeflow …`, as a script: run now, schedule, list, pause, resume, delete, wait."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # of this file's own folder, which is no package

from pipeline.cli import main  # noqa: E402

main(["kubeflow", *sys.argv[1:]])
