"""What the last step's container runs; the code is in pipeline/runners/kubeflow."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # of this file's own folder, which is no package

from pipeline.runners.kubeflow.report import main  # noqa: E402

sys.exit(main())
