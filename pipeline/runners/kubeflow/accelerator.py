"""Accelerators: which image a step that asks for some runs in, and whether TensorFlow sees them when it begins."""

import importlib.util

from components.common.errors import ConfigError, ServiceError

_CUDA = "nvidia.cudnn"  # a package of the extra `cuda`, which the image's variant has
_BUILD = "--build-arg ACCELERATOR=cuda"
_GPU = "/gpu"  # how the resources of what TensorFlow calls a GPU end: nvidia.com/gpu, amd.com/gpu


def image_for(kind: str, gpu: int, image: str, gpu_image: str) -> str:
    """The image of a step.

    Args:
        kind: of its node, as `kubeflow.steps` has it. gpu: accelerators it asks for.
        image: of steps that ask for none. gpu_image: of those that do; empty: there is none.

    Raises:
        ConfigError: it asks for accelerators, and no image is named that can use them.
    """
    if gpu and not gpu_image:
        must = f"have an image with CUDA: build one with {_BUILD} and name it in `kubeflow.gpu_image`"
        raise ConfigError(f"a step with `gpu` must {must}. Received: gpu={gpu} for {kind}, and no gpu_image")
    return gpu_image if gpu else image


def require_visible(gpu: int, gpu_type: str = "nvidia.com/gpu") -> None:
    """Makes sure that TensorFlow sees the accelerators a step asked for, because without them it would train on the
    CPU, as slowly as that is, on a node that others wait for.

    Args:
        gpu: accelerators it asked for; 0 imports no TensorFlow. gpu_type: Kubernetes' resource; those that are no GPU
            to TensorFlow are not looked for.

    Raises:
        ConfigError: the image has no CUDA.
        ServiceError: the node shows fewer than it was asked for.
    """
    if not gpu or not gpu_type.endswith(_GPU):
        return
    import tensorflow as tf

    visible = len(tf.config.list_physical_devices("GPU"))
    if visible >= gpu:
        return
    if gpu_type == "nvidia.com/gpu" and not _has_cuda():
        must = f"run in an image with CUDA: build it with {_BUILD} and name it in `kubeflow.gpu_image`"
        raise ConfigError(f"a step with gpu={gpu} must {must}. Received: an image without")
    must = "see them: look at its node's driver and at Kubernetes' device plugin"
    raise ServiceError(f"a step with gpu={gpu} must {must}. Received: {visible} that TensorFlow sees")


def _has_cuda() -> bool:
    """Whether CUDA's libraries are installed beside TensorFlow."""
    try:
        return importlib.util.find_spec(_CUDA) is not None
    except ModuleNotFoundError:  # of `nvidia` itself
        return False
