"""A run record of two classes, for the tests of the page."""

VARIANT = {
    "recipe": "int8",
    "accuracy": 0.8412,
    "drop": 0.0021,
    "bytes": 32100,
    "gzip_bytes": 26600,
    "xz_bytes": 24600,
    "zstd_bytes": 25600,
    "download_bytes": 20000,
    "latency_us": 68.0,
    "latency": {
        "parent": {"median": 20.0, "low": 19.0, "high": 21.0},
        "variant": {"median": 68.0, "low": 66.0, "high": 70.0},
        "ratio": {"median": 3.4, "low": 3.3, "high": 3.5},
    },
    "sparsity": 0.5,
    "int8_weights": 1.0,
    "integer_operators": 1.0,
    "agreement": 0.99,
    "largest_difference": 0.1,
    "layers": [
        {
            "layer": "dense",
            "tensor": 4,
            "dtype": "int8",
            "promised_sparsity": 0.5,
            "promised_clusters": 8,
            "per_channel": False,
            "sparsity": 0.52,
            "clusters": 7,
        }
    ],
    "skipped": {"prune": {"norm": "normalization is small"}, "quantize": {}},
    "sha256": "0" * 64,
    "verdict": "pass",
    "reasons": [],
    "checks": [{"gate": "size", "verdict": "pass", "code": "size_within_limit", "sentence": "It is small."}],
    "confusion": [[5, 1], [0, 6]],
    "holdout": {"fingerprint": "0" * 64, "examples": 1990, "duplicates": 10, "decision": 2, "planned": 5},
}


def _tried(key: str, kind: str, gzip_bytes: int, parent_only: int, within: bool, **levels) -> dict:
    seen = {"both": 1620 - parent_only, "parent_only": parent_only, "variant_only": 20, "neither": 360}
    return {
        "key": key,
        "kind": kind,
        "sparsities": {},
        "clusters": {},
        **levels,
        "bytes": 4 * gzip_bytes,
        "gzip_bytes": gzip_bytes,
        "sha256": "0" * 64,
        "seen": seen,
        "accuracy": (1640 - parent_only) / 2000,
        "drop": (parent_only - 20) / 2000,
        "target": 0.0031,
        "within": within,
        "seconds": 12.34,
    }


TRIES = [
    _tried("a1", "int8", 31000, 20, True),
    _tried("b2", "cluster+int8", 27000, 21, True, clusters={"conv": 64, "dense": 8}),
    _tried("c3", "prune+cluster+int8", 9000, 60, False, sparsities={"dense": 0.8}, clusters={"conv": 8, "dense": 8}),
    _tried("d4", "prune+int8", 28500, 40, False, sparsities={"conv": 0.0, "dense": 0.3}),
]
SEARCH = {
    "recipe": "auto",
    "target": {"max_drop": 0.005, "margin": 0.01, "alpha": 0.0125, "holdout": 8000, "power": 0.9},
    "chosen": "b2",
    "within": True,
    "pareto": ["a1", "b2", "c3"],
    "tries": TRIES,
}
RECORD = {
    "run": "20260101-000000-abcd",
    "config": "default",
    "state": "pushed",
    "exit_code": 0,
    "started": "2026-01-01T00:00:00+00:00",
    "seconds": 100.5,
    "error": None,
    "versions": {"lockgate": "0.1.0"},
    "data": {
        "name": "pets",
        "span": 1,
        "span_name": "span-1",
        "classes": ["cat", "dog"],
        "public_source": "elsewhere",
        "population": 12345,
        "roles": {"train": {"examples": None, "pattern": "train/*"}, "holdout": {"examples": 8000, "pattern": "h/*"}},
    },
    "drift": None,
    "privacy": {
        "epsilon": 2.5,
        "delta": 1e-5,
        "spans": ["d/span-1"],
        "base": None,
        "statement": "It is private.\n\nNot all of it.",
    },
    "parent": {
        "accuracy": 0.8433,
        "bytes": 107000,
        "gzip_bytes": 98000,
        "latency_us": 20.0,
        "confusion": [[5, 1], [0, 6]],
    },
    "max_drop": 0.01,
    "variants": [VARIANT],
    "searches": [SEARCH],
    "statistics": None,
    "pushed": {"recipe": "int8", "path": "p", "sha256": "0" * 64, "version": 1},
    "nodes": [{"id": "DPTrainer", "state": "ran", "seconds": 40.0}],
    "lineage": [
        {"artifact": 3, "type": "Model", "node": "DPTrainer", "execution": 2, "inputs": []},
        {"artifact": 7, "type": "Variant", "node": "Quantizer-int8", "execution": 5, "inputs": [2, 3]},
        {"artifact": 8, "type": "Variant", "node": "Quantizer-prune+int8", "execution": 6, "inputs": [3]},
        {"artifact": 9, "type": "PushedModel", "node": "Pusher", "execution": 7, "inputs": [7]},
    ],
    "settings": {"name": "default", "recipes": {"int8": [{"stage": "quantize", "mode": "int8"}]}},
}
