"""Which image a step with accelerators runs in, and what it says where TensorFlow does not see them."""

import subprocess
import sys

import pytest
import tensorflow as tf

from components.common.errors import ConfigError, ServiceError
from pipeline.runners.kubeflow import accelerator
from pipeline.runners.kubeflow.accelerator import image_for, require_visible


def seen(monkeypatch, count: int, has_cuda: bool) -> None:
    """TensorFlow on a node that shows so many GPUs, in an image with or without CUDA."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"] * count if kind == "GPU" else [])
    monkeypatch.setattr(accelerator, "_has_cuda", lambda: has_cuda)


def test_a_step_that_asks_for_none_runs_in_the_image_and_one_that_asks_in_the_other():
    assert image_for("Pusher", 0, "lockgate:1", "") == "lockgate:1"
    assert image_for("Pusher", 0, "lockgate:1", "lockgate:1-cuda") == "lockgate:1"
    assert image_for("DPTrainer", 1, "lockgate:1", "lockgate:1-cuda") == "lockgate:1-cuda"


def test_a_step_that_asks_is_refused_where_no_image_with_cuda_is_named():
    with pytest.raises(ConfigError, match="ACCELERATOR=cuda and name it in `kubeflow.gpu_image`.*gpu=1 for DPTrainer"):
        image_for("DPTrainer", 1, "lockgate:1", "")


def test_a_step_whose_accelerators_are_seen_begins(monkeypatch):
    seen(monkeypatch, count=2, has_cuda=True)
    require_visible(1)
    require_visible(2)


@pytest.mark.parametrize(
    ("count", "has_cuda", "error", "line"),
    [
        (0, False, ConfigError, "in an image with CUDA.*Received: an image without"),
        (0, True, ServiceError, "driver and at Kubernetes' device plugin. Received: 0"),
        (1, True, ServiceError, "gpu=2 must see them.*Received: 1"),
    ],
)
def test_a_step_whose_accelerators_are_not_seen_is_one_line_and_exit_code_2(monkeypatch, count, has_cuda, error, line):
    seen(monkeypatch, count, has_cuda)
    with pytest.raises(error, match=line) as raised:
        require_visible(2)
    assert raised.value.exit_code == 2 and "\n" not in str(raised.value)


def test_another_vendor_s_is_not_told_to_install_cuda(monkeypatch):
    seen(monkeypatch, count=0, has_cuda=False)
    with pytest.raises(ServiceError, match="device plugin"):
        require_visible(1, "amd.com/gpu")


def test_what_tensorflow_does_not_call_a_gpu_is_not_looked_for(monkeypatch):
    seen(monkeypatch, count=0, has_cuda=False)
    require_visible(8, "google.com/tpu")


def test_cuda_is_what_is_installed(monkeypatch, tmp_path):
    assert not accelerator._has_cuda()  # the extra is not among what tests need
    (tmp_path / "nvidia" / "cudnn").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert accelerator._has_cuda()


def test_a_step_that_asks_for_none_imports_no_tensorflow():
    program = "import sys; from pipeline.runners.kubeflow.accelerator import require_visible as r; r(0); "
    program += "print('tensorflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert result.stdout.strip() == "False", result.stderr
