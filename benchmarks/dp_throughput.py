"""Examples a second of private training: this engine against plain SGD, tensorflow-privacy and Opacus, in one run.

Command: `python -m benchmarks.dp_throughput`. Progress goes to stderr, one JSON object to stdout; the exit code is 1
under a threshold of `baselines/dp_throughput.json`, or where a peer could not be measured. The steps take turns, so
that a machine that is busy for a while is busy for all: each rate is the median over turns, and each ratio the median
of the ratios within a turn.
Opacus gets a venv of its own, `.venv-opacus` beside this file, which is made on the first run.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BASELINE = HERE / "baselines" / "dp_throughput.json"
BATCHES, TURNS, SLOW_TURNS = (256, 2048), 7, 3
CELLS = {  # by model: batches at which plain SGD may have its plateau, examples that a step runs on in a turn, turns
    "tanh_cnn_26k": ((256, 512, 1024, 2048, 4096), 2048, 40),
    "group_cnn_300k": ((64, 128, 256, 512), 512, 7),
}
PHYSICAL, LOGICAL = 256, (256, 16_384)
OPACUS_PYTHON, OPACUS_PACKAGES = "python3.11", ("torch==2.13.0", "opacus==1.6.0")
SLOW = ("tfp_optimizer", "tfp_vectorized", "tfp_model")
SLOW_BATCH = 256  # slow peers are timed on no more; TFP's optimizers get slower with the batch, so this flatters them


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Opacus:
    """The worker process; each call of a step times one there."""

    def __init__(self):
        venv = HERE / ".venv-opacus"
        python = venv / "bin" / "python"
        if not (venv / "made").exists():
            tell("making a venv for Opacus")
            for command in (
                [OPACUS_PYTHON, "-m", "venv", "--clear", str(venv)],
                [str(python), "-m", "pip", "install", "-q", *OPACUS_PACKAGES],
            ):
                subprocess.run(command, check=True, capture_output=True, text=True)
            (venv / "made").touch()
        self._process = subprocess.Popen(
            [str(python), str(HERE / "opacus_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._process.stdout.readline().strip() != "ready":
            raise OSError("the worker did not start")

    def seconds(self, mode: str, batch: int) -> float:
        """One step, timed in the worker."""
        self._process.stdin.write(f"{mode} {batch}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def opacus() -> Opacus | None:
    """The worker, or None and one line that says why not."""
    try:
        return Opacus()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        tell(f"Opacus cannot be measured: {detail[-1] if detail else type(error).__name__}")
        return None


def turns(timers: dict, count: int) -> dict[str, list[float]]:
    """Times each of `timers` (name to (examples, function that returns seconds)) in turn, `count` times, after one
    turn to warm up. Returns examples a second by name, one a turn."""
    rates = {name: [] for name in timers}
    for turn in range(-1, count):
        for name, (examples, timer) in timers.items():
            rate = examples / timer()
            if turn >= 0:
                rates[name].append(rate)
    return rates


def timer_of(step, repeats: int = 1):
    """Seconds that one call takes, on average over `repeats` in a row after one that finds the caches cold."""

    def timer() -> float:
        if repeats > 1:
            step()
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        return (time.perf_counter() - start) / repeats

    return timer


def against_plain(name: str) -> dict:
    """Rates of the engine and of DPModel with the rules, and their ratios to plain SGD at its plateau."""
    from benchmarks import throughput_steps as steps

    made, (plateau_batches, examples, count) = steps.MODELS[name], CELLS[name]
    kinds = [("plain", b) for b in plateau_batches] + [("engine", b) for b in BATCHES] + [("tfp_model_with_rules", 256)]
    tell(f"{name}: plain SGD at batches {plateau_batches}, this engine at {BATCHES}, DPModel with its rules at 256")
    timers = {
        f"{kind} {batch}": (batch, timer_of(getattr(steps, kind)(made(), batch), max(1, examples // batch)))
        for kind, batch in kinds
    }
    rates = turns(timers, count)
    medians = _medians(rates)
    plateau = max((key for key in medians if key.startswith("plain")), key=medians.get)
    ratios = {key: _ratio(values, rates[plateau]) for key, values in rates.items() if not key.startswith("plain")}
    return {"examples_per_s": medians, "plateau": plateau, "of_plain": ratios}


def against_peers(worker: Opacus | None) -> dict:
    """Rates of the engine and of every peer on the 26k-parameter CNN, and the engine's ratios to them."""
    from benchmarks import throughput_steps as steps

    made, found = steps.MODELS["tanh_cnn_26k"], {}
    for batch in BATCHES:
        tell(f"peers at batch {batch}")
        timers = {"engine": (batch, timer_of(steps.engine(made(), batch), max(1, 4096 // batch)))}
        for mode in ("plain", "hooks", "ghost") if worker else ():
            timers[f"opacus_{mode}"] = (batch, lambda mode=mode, batch=batch: worker.seconds(mode, batch))
        rates = turns(timers, TURNS)
        for peer in SLOW:
            tell(f"{peer}, timed on {SLOW_BATCH} examples")
            slow = {"engine": timers["engine"], peer: (SLOW_BATCH, timer_of(getattr(steps, peer)(made(), SLOW_BATCH)))}
            slow_rates = turns(slow, SLOW_TURNS)
            rates[peer] = slow_rates[peer]
            found[f"engine {batch} of {peer}"] = _ratio(slow_rates["engine"], slow_rates[peer])
        medians = _medians(rates)
        better = max((k for k in ("opacus_hooks", "opacus_ghost") if k in medians), key=medians.get, default=None)
        found[f"engine {batch} of opacus"] = _ratio(rates["engine"], rates[better]) if better else None
        found[f"examples_per_s {batch}"] = medians | ({} if better else {"opacus_hooks": None, "opacus_ghost": None})
    return found


def _medians(rates: dict[str, list[float]]) -> dict[str, float]:
    return {key: statistics.median(values) for key, values in rates.items()}


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def memory() -> dict:
    """Peak memory of a process that trains at each logical batch, in MiB, and the ratio of the two."""
    peaks = {}
    for logical in LOGICAL:
        tell(f"peak memory at logical batch {logical}, physical {PHYSICAL}")
        command = [sys.executable, "-m", "benchmarks.dp_throughput", "--peak", str(logical)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent)
        peaks[str(logical)] = float(run.stdout.split()[-1])
    return {"mib": peaks, "ratio": peaks[str(LOGICAL[1])] / peaks[str(LOGICAL[0])]}


def peak(logical: int) -> float:
    """MiB at the most, of this process, which trains the 26k-parameter CNN on twice the largest logical batch."""
    from benchmarks import throughput_steps as steps

    step = steps.engine(steps.MODELS["tanh_cnn_26k"](), logical, PHYSICAL)
    for _ in range(2 * LOGICAL[1] // logical):
        step()
    status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent, of which this process is a fork
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def verdict(result: dict, thresholds: dict) -> list[str]:
    """What falls short, one line each; a figure that is missing falls short too."""
    cells = {
        f"{model} {key}": value for model, part in result["models"].items() for key, value in part["of_plain"].items()
    }
    checks = [(f"{k} of plain", v, thresholds["engine_of_plain"]) for k, v in cells.items() if " engine " in f" {k} "]
    for batch in BATCHES:
        peers = result["peers"]
        name = f"engine {batch} of tfp_optimizer"
        checks.append((name, peers[name], thresholds["engine_of_tfp_optimizer"]))
        checks.append((f"engine {batch} of opacus", peers[f"engine {batch} of opacus"], thresholds["engine_of_opacus"]))
    short = [f"{n} must be at least {least}. Received: {v}" for n, v, least in checks if v is None or not v >= least]
    if not result["memory"]["ratio"] <= thresholds["memory_ratio"]:
        short.append(f"peak memory must grow by at most {thresholds['memory_ratio']}. Received: {result['memory']}")
    return short


def main() -> int:
    if sys.argv[1:2] == ["--peak"]:
        print(peak(int(sys.argv[2])))
        return 0
    from benchmarks.throughput_steps import MODELS

    worker = opacus()
    result = {"models": {name: against_plain(name) for name in MODELS}, "peers": against_peers(worker)}
    if worker:
        worker.close()
    result["memory"] = memory()
    short = verdict(result, json.loads(BASELINE.read_text())["thresholds"])
    for line in short:
        tell(line)
    print(json.dumps(result | {"short": short}, indent=2))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
