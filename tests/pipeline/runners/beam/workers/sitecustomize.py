"""Read by every Python that starts with this folder in its path: a worker of Beam notes what it worked on.

A line of NOTES a bundle: the job's control server, the worker's process, and the elements that its steps took or gave.
"""

import json
import os
import re
from pathlib import Path

_job = re.search(r'SdkHarness\("([^"]+)"', Path("/proc/self/cmdline").read_text())


def _note(job: str) -> None:
    from apache_beam.metrics import monitoring_infos
    from apache_beam.runners.worker import sdk_worker

    process_bundle = sdk_worker.SdkWorker.process_bundle

    def noted(self, request, instruction_id):
        response = process_bundle(self, request, instruction_id)
        infos = response.process_bundle.monitoring_infos
        counts = [
            monitoring_infos.extract_counter_value(i) for i in infos if i.urn == monitoring_infos.ELEMENT_COUNT_URN
        ]
        with open(os.environ["NOTES"], "a") as notes:
            notes.write(json.dumps({"job": job, "pid": os.getpid(), "elements": sum(counts)}) + "\n")
        return response

    sdk_worker.SdkWorker.process_bundle = noted


if _job:
    _note(_job[1])
