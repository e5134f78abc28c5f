"""Scoring of `holdout` beside TFMA on the same models, the same examples, two cores, in one run.

    python -m benchmarks.scoring [--examples 100000] [--variants 5] [--rounds 1] [--workers 2]

Examples are PNGs of 28x28 pixels in gzipped TFRecords of 10,000, as ExampleGen writes them; labels are noise, for no
model has to be good. The models are a CNN of 26,000 weights and five of its `.tflite` files: float, dynamic range, int8
three times. Both sides give what a gate needs, accuracy of every model over all examples and in every class:

- ours: `components.gates.scoring` (the parent as it is, each file in the interpreter), its table, the counts of it.
- TFMA: `run_model_analysis` with a `tf_lite` model spec a variant and one for the float file, sliced by label, on the
  same images as decoded floats in the examples, so that it has no PNG to decode.

Both run on FnApiRunner with so many workers in processes of their own. Accuracies of float inputs must agree, to a
hundredth of a point. Progress goes to stderr, the result as JSON to stdout. Exits with 1 where TFMA is not slower by
the factor in benchmarks/baselines/scoring.json, or where the two disagree.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from benchmarks.dp_accuracy import tell
from components.common.examples import scaled
from components.common.legacy_keras import keras
from components.common.models import save_model
from components.gates.scoring.job import score
from components.gates.scoring.table import read_table
from components.quantization.core import convert

BASELINE = Path(__file__).parent / "baselines" / "scoring.json"
SHAPE, CLASSES, FILE = (28, 28, 1), 10, 10_000
MODES = ("float32", "dynamic", "int8", "int8", "int8")


def network() -> keras.Model:
    """The parent."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(SHAPE, name="image"),
            layers.Conv2D(16, 8, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(2, 1),
            layers.Conv2D(32, 4, strides=2, activation="relu"),
            layers.MaxPooling2D(2, 1),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(CLASSES),
        ]
    )


def write_examples(folder: Path, count: int) -> None:
    """Writes `ours/` with encoded images and `tfma/` with the same ones as floats."""
    random = np.random.default_rng(2)
    for side in ("ours", "tfma"):
        (folder / side).mkdir(parents=True)
    for start in range(0, count, FILE):
        name = f"data_tfrecord-{start // FILE:05d}.gz"
        writers = {side: tf.io.TFRecordWriter(str(folder / side / name), "GZIP") for side in ("ours", "tfma")}
        blocks = random.integers(0, 256, (min(FILE, count - start), 7, 7, 1), np.uint8)
        for i, image in enumerate(np.repeat(np.repeat(blocks, 4, axis=1), 4, axis=2)):
            label = int(random.integers(CLASSES))
            buffer = io.BytesIO()
            Image.fromarray(image[..., 0]).save(buffer, "PNG")
            for side, feature in (
                ("ours", tf.train.Feature(bytes_list=tf.train.BytesList(value=[buffer.getvalue()]))),
                ("tfma", tf.train.Feature(float_list=tf.train.FloatList(value=scaled(image).ravel()))),
            ):
                made = tf.train.Example()
                made.features.feature["image"].CopyFrom(feature)
                made.features.feature["label"].int64_list.value.append(label)
                made.features.feature["id"].bytes_list.value.append(str(start + i).encode())
                writers[side].write(made.SerializeToString())
        for writer in writers.values():
            writer.close()


def write_models(folder: Path, variants: int) -> dict[str, Path]:
    """Writes the parent and its files; gives the folder of each."""
    model, random = network(), np.random.default_rng(3)
    paths = {"parent": folder / "parent"}
    paths["parent"].mkdir(parents=True)
    save_model(model, str(paths["parent"]))
    (paths["parent"] / "tflite").write_bytes(convert(model, "float32"))
    for i, mode in enumerate(MODES[:variants]):
        paths[f"variant:{i}"] = folder / str(i)
        paths[f"variant:{i}"].mkdir()
        content = convert(model, mode, random.random((100, *SHAPE)).astype(np.float32) if mode == "int8" else None)
        (paths[f"variant:{i}"] / "tflite").write_bytes(content)
    return paths


def options(workers: int) -> PipelineOptions:
    many = [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"] if workers > 1 else []
    return PipelineOptions(["--runner=FnApiRunner", *many])


def ours(examples: Path, models: dict[str, Path], folder: Path, workers: int) -> dict[str, list[float]]:
    """Accuracy of each model: over all, and in each class."""
    paths = {name: str(path if name == "parent" else path / "tflite") for name, path in models.items()}
    with beam.Pipeline(options=options(workers)) as pipeline:
        score(pipeline, sorted(map(str, (examples / "ours").iterdir())), paths, (), SHAPE, CLASSES, str(folder))
    table = read_table(str(folder), tuple(models), (), CLASSES)
    right = {name: table.predictions[name] == table.labels for name in models}
    classes = [slice(None), *(table.labels == label for label in range(CLASSES))]
    return {name: [float(np.mean(r[rows])) for rows in classes] for name, r in right.items()}


def by_tfma(examples: Path, models: dict[str, Path], folder: Path, workers: int) -> dict[str, list[float]]:
    """The same from TFMA; the parent is its float file there."""
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(name=name, model_type="tf_lite", label_key="label") for name in models],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["label"])],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name="SparseCategoricalAccuracy")])],
    )
    shared = [
        tfma.default_eval_shared_model(str(path), model_name=name, eval_config=config) for name, path in models.items()
    ]
    tfma.run_model_analysis(
        eval_shared_model=shared,
        eval_config=config,
        data_location=str(examples / "tfma" / "*"),
        output_path=str(folder),
        pipeline_options=options(workers),
    )
    found = {}
    for name in models:
        metrics = dict(tfma.load_eval_result(str(folder), model_name=name).slicing_metrics)
        keys = [(), *((("label", label),) for label in range(CLASSES))]
        found[name] = [metrics[key][""][""]["sparse_categorical_accuracy"]["doubleValue"] for key in keys]
    return found


def measure(count: int, variants: int, rounds: int, workers: int) -> dict:
    """Times both, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_examples(folder / "examples", count)
        models = write_models(folder / "models", variants)
        tell(f"{count:,} examples, {variants} variants")
        taken: dict[str, list[float]] = {"ours": [], "tfma": []}
        found = {}
        for i in range(rounds):
            for side, run in (("ours", ours), ("tfma", by_tfma)):
                begun = time.monotonic()
                found[side] = run(folder / "examples", models, folder / f"{side}-{i}", workers)
                taken[side].append(time.monotonic() - begun)
                tell(f"{side}: {taken[side][-1]:.1f} s")
        floats = list(models)[
            : 1 + MODES.index("int8")
        ]  # TFMA cuts an int8 input off where TFLite's own rule rounds it
        apart = max(abs(a - b) for m in floats for a, b in zip(found["ours"][m], found["tfma"][m], strict=True))
    ratios = [theirs / mine for mine, theirs in zip(taken["ours"], taken["tfma"], strict=True)]
    return {
        "examples": count,
        "variants": variants,
        "seconds": taken,
        "faster": float(np.median(ratios)),
        "apart": apart,
    }


def missed_bounds(found: dict, bounds: dict[str, float]) -> list[str]:
    """Which figures are on the wrong side of their bound."""
    slow = [] if found["faster"] >= bounds["faster"] else ["faster"]
    return slow if found["apart"] <= bounds["apart"] else [*slow, "apart"]


def main() -> int:
    """Measures, prints, compares with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--variants", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    found = measure(**{"count" if k == "examples" else k: v for k, v in vars(parser.parse_args()).items()})
    missed = missed_bounds(found, json.loads(BASELINE.read_text())["bounds"])
    print(json.dumps({**found, "missed": missed}, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
