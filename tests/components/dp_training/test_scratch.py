"""The scratch copy: the same examples by index, private, and gone with the process."""

import os
import subprocess
import sys

import numpy as np
import pytest

from components.common.examples import Split
from components.dp_training.scratch import ScratchExamples

SHAPE = (3, 4, 1)


def pieces(count: int = 10, size: int = 4):
    images = np.arange(count * 12, dtype=np.uint8).reshape(count, *SHAPE)
    labels = np.arange(count, dtype=np.int64) - 2
    for start in range(0, count, size):
        yield Split(images=images[start : start + size], labels=labels[start : start + size])


def test_it_gives_the_examples_in_the_order_asked(tmp_path):
    with ScratchExamples(pieces(), str(tmp_path)) as scratch:
        assert len(scratch) == 10
        taken = scratch.take(np.array([7, 0, 7]))
        assert taken.labels.tolist() == [5, -2, 5] and taken.labels.dtype == np.int64
        np.testing.assert_array_equal(taken.images[1], np.arange(12, dtype=np.uint8).reshape(SHAPE))
        assert taken.images.shape == (3, *SHAPE) and taken.images.dtype == np.uint8
        assert len(scratch.take(np.array([], np.int64))) == 0


def test_it_has_no_name_and_only_its_owner_may_read_it(tmp_path):
    with ScratchExamples(pieces(), str(tmp_path)) as scratch:
        assert os.listdir(tmp_path) == []
        status = os.fstat(scratch._file.fileno())
        assert status.st_mode & 0o777 == 0o600 and status.st_size == 10 * (12 + 8)


def test_nothing_is_left_by_a_process_that_is_killed(tmp_path):
    program = (
        "import sys; from components.dp_training.scratch import ScratchExamples\n"
        "from tests.components.dp_training.test_scratch import pieces\n"
        "kept = ScratchExamples(pieces(100000), sys.argv[1]); print(len(kept), flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "100000\n"
    child.kill()
    child.wait()
    assert list(tmp_path.rglob("*")) == []


def test_memory_does_not_grow_with_the_number_of_examples(tmp_path):
    program = (
        "import sys; import numpy as np\n"
        "from components.dp_training.scratch import ScratchExamples\n"
        "from components.common.examples import Split\n"
        "def pieces(count):\n"
        "    for _ in range(count // 1000):\n"
        "        yield Split(images=np.ones((1000, 28, 28, 1), np.uint8), labels=np.zeros(1000, np.int64))\n"
        "scratch = ScratchExamples(pieces(int(sys.argv[2])), sys.argv[1])\n"
        "for _ in range(20): scratch.take(np.random.default_rng().integers(0, len(scratch), 1000))\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    peaks = []
    for count in (1000, 200_000):
        command = [sys.executable, "-c", program, str(tmp_path), str(count)]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 20_000  # KiB; the images alone are 153,000


def test_a_full_disk_is_an_os_error_and_leaves_nothing():
    with pytest.raises(OSError):
        ScratchExamples(pieces(), "/proc")
