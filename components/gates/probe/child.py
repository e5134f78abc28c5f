"""A process that serves `.tflite` files with nothing of Lockgate: run as `python -I child.py`, never imported.

It takes JSON on stdin, `{"files": {name: path}, "shape": [height, width, channels], "classes": n}`, and writes one JSON
line a file: `{"name", "complaints", "peak_bytes"}`. Every file is served by a fork, so that one that kills its process
kills no other.
"""

import json
import os
import select
import signal
import sys

import numpy as np
import tensorflow as tf

_SECONDS = 20


def peak(key: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(key + ":"))


def serve(path: str, shape: list[int], classes: int) -> dict:
    """Loads one file, asks it, and feeds it what it must refuse."""
    before = peak("VmRSS")
    try:
        interpreter = tf.lite.Interpreter(path, num_threads=1)
        interpreter.allocate_tensors()
    except Exception as error:
        return {"complaints": [f"does not load ({' '.join(str(error).split())[:200]})"], "peak_bytes": None}
    complaints = []
    taken, given = interpreter.get_input_details(), interpreter.get_output_details()
    if len(taken) != 1 or list(taken[0]["shape"][1:]) != shape or len(given) != 1:
        complaints.append(f"takes {[list(t['shape']) for t in taken]} where one image of {shape} is meant")
        return {"complaints": complaints, "peak_bytes": None}
    black, white = (np.full([1, *shape], value, taken[0]["dtype"]) for value in (0, brightest(taken[0]["dtype"])))
    complaints += wrong(ask(interpreter, white), classes)
    first = ask(interpreter, black)
    complaints += [more for more in wrong(first, classes) if more not in complaints]
    for what, malformed in malformed_inputs(shape, taken[0]["dtype"]):
        try:
            ask(interpreter, malformed)
            complaints.append(f"takes {what}")
        except Exception:  # a refusal, in whatever words
            pass
    again = ask(interpreter, black)
    if not np.array_equal(first, again, equal_nan=True):
        complaints.append("answers otherwise after malformed input")
    return {"complaints": complaints, "peak_bytes": peak("VmHWM") - before}


def brightest(dtype) -> float:
    """The largest value of an image."""
    return 1.0 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max


def ask(interpreter, batch: np.ndarray) -> np.ndarray:
    """One invocation."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def wrong(answer: np.ndarray, classes: int) -> list[str]:
    """What is wrong with an answer to one image."""
    if answer.shape != (1, classes):
        return [f"answers {list(answer.shape)} where {[1, classes]} is meant"]
    return [] if np.all(np.isfinite(answer)) else ["answers with numbers that are not finite"]


def malformed_inputs(shape: list[int], dtype):
    """Inputs that no model of one image may take."""
    other = np.float64 if dtype != np.float64 else np.float32
    yield "an image of another type", np.zeros([1, *shape], other)
    yield "an image without its batch", np.zeros(shape, dtype)
    yield "a larger image", np.zeros([1, shape[0] + 1, *shape[1:]], dtype)
    yield "two images as one", np.zeros([2, *shape], dtype)
    yield "no image", np.zeros([0, *shape], dtype)


def forked(path: str, shape: list[int], classes: int) -> dict:
    """What a fork found; how it died, if it did not say."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            os.write(write, json.dumps(serve(path, shape, classes)).encode())
        finally:
            os._exit(0)
    os.close(write)
    said = b""
    if select.select([read], [], [], _SECONDS)[0]:
        said = os.read(read, 65536)
    else:
        os.kill(child, signal.SIGKILL)
    os.close(read)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return {"complaints": [f"kills its process (signal {os.WTERMSIG(status)})"], "peak_bytes": None}
    return json.loads(said) if said else {"complaints": ["ends its process"], "peak_bytes": None}


def main() -> None:
    """Serves all files that stdin names."""
    asked = json.load(sys.stdin)
    for name, path in asked["files"].items():
        print(json.dumps({"name": name, **forked(path, asked["shape"], asked["classes"])}), flush=True)


if __name__ == "__main__":
    main()
