"""Times Opacus on the 26k-parameter CNN, in a venv of its own: reads "mode batch" a line, writes seconds a step.

Modes: `plain` (torch SGD), `hooks` and `ghost` (Opacus's two ways). It writes one line, `ready`, when it can start.
"""

import sys
import time
import warnings

import torch
from opacus import PrivacyEngine
from torch import nn

warnings.filterwarnings("ignore")


class TanhCNN(nn.Module):
    """components.dp_training.models.tanh_cnn, with "same" padding written out."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 8, 2, padding=3), nn.Conv2d(16, 32, 4, 2)
        self.dense1, self.dense2 = nn.Linear(512, 32), nn.Linear(32, 10)
        self.pool = nn.MaxPool2d(2, 1)

    def forward(self, x):
        x = self.pool(torch.tanh(self.conv1(2.0 * x - 1.0)))
        x = self.pool(torch.tanh(self.conv2(x))).flatten(1)
        return self.dense2(torch.tanh(self.dense1(x)))


def step_of(mode: str, batch: int):
    """One training step on `batch` made-up examples, as a function without arguments."""
    torch.manual_seed(0)
    images, labels = torch.rand(batch, 1, 28, 28), torch.randint(0, 10, (batch,))
    model, criterion = TanhCNN(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    if mode != "plain":
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch)
        made = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            criterion=criterion,
            data_loader=data,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
        model, optimizer = made[:2]
        criterion = made[2] if mode == "ghost" else criterion
    model.train()

    def step():
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    steps = {}
    print("ready", flush=True)
    for line in sys.stdin:
        mode, batch = line.split()
        if line not in steps:
            steps[line] = step_of(mode, int(batch))
        steps[line]()  # finds the caches cold
        start = time.perf_counter()
        steps[line]()
        print(time.perf_counter() - start, flush=True)


main()
