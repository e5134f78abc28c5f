"""Running `.tflite` files: every score comes from the file that ships."""

import time
from pathlib import Path

import numpy as np
import tensorflow as tf

_BATCH = 200


class TFLiteModel:
    """A `.tflite` in TFLite's interpreter, one thread.

    Args:
        content: the bytes of the file. Where it has several inputs or outputs, only `outputs` serves.
    """

    def __init__(self, content: bytes):
        self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
        self._batch = None
        self._resize(1)

    @classmethod
    def open(cls, path: str) -> "TFLiteModel":
        """The same from a file."""
        return cls(Path(path).read_bytes())

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Scores float32 images [n, height, width, channels] in [0, 1]: float32 [n, classes], dequantized."""
        outputs = []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            self._resize(len(batch))
            outputs.append(self._run(batch))
        return np.concatenate(outputs)

    def outputs(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one batch through a file of any number of inputs and outputs, which go by the names of the Keras model
        (`input_names`, `output_names`): float32 arrays [n, …] in and out, quantized and dequantized on the way."""
        runner = self._interpreter.get_signature_runner()
        taken, given = runner.get_input_details(), runner.get_output_details()
        found = runner(**{name: _quantized(batch, taken[name]) for name, batch in inputs.items()})
        self._batch = None  # the runner gave the inputs another size
        return {name: _dequantized(raw, given[name]) for name, raw in found.items()}

    def latencies(self, image: np.ndarray, runs: int) -> np.ndarray:
        """Times single invocations on one image [height, width, channels]: float64 [runs], in microseconds."""
        self._resize(1)
        self._run(image[None])
        taken = np.empty(runs)
        for i in range(runs):
            start = time.perf_counter_ns()
            self._interpreter.invoke()
            taken[i] = (time.perf_counter_ns() - start) / 1000
        return taken

    def _resize(self, batch: int) -> None:
        if batch == self._batch:
            return
        index = self._interpreter.get_input_details()[0]["index"]
        shape = [batch, *self._interpreter.get_input_details()[0]["shape"][1:]]
        self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._batch = batch

    def _run(self, batch: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input["index"], _quantized(batch, self._input))
        self._interpreter.invoke()
        return _dequantized(self._interpreter.get_tensor(self._output["index"]), self._output)


def _quantized(values: np.ndarray, detail: dict) -> np.ndarray:
    """Float32 values in the type of an input, clipped to what it can hold."""
    scale, zero = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        values = np.clip(np.round(values / scale + zero), limits.min, limits.max)
    return values.astype(detail["dtype"])


def _dequantized(raw: np.ndarray, detail: dict) -> np.ndarray:
    """An output as the float32 that it stands for."""
    scale, zero = detail["quantization"]
    return (raw.astype(np.float32) - zero) * scale if scale else raw.astype(np.float32)
