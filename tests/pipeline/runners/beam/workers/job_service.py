"""Beam's local job service, whose jobs take two workers: by itself it heeds no `--direct_num_workers`."""

import logging
import signal
import sys

from apache_beam.runners.portability import local_job_service, local_job_service_main
from apache_beam.runners.portability.fn_api_runner import fn_runner


class TwoWorkers(fn_runner.FnApiRunner):
    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self._num_workers = 2


local_job_service.fn_runner.FnApiRunner = TwoWorkers
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
logging.basicConfig(level=logging.INFO)
local_job_service_main.run(sys.argv[1:])
