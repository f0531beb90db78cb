"""Small models of the families that people train, with every oddity of their states, and a task for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

PADDING = 0
TOKENS, WIDTH, LENGTH = 24, 8, 6


class Convolutions(nn.Module):
    """Plain, grouped and transposed convolutions with batch normalisation and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=2, padding=1),
            nn.ConvTranspose2d(8, 4, 2),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * 7 * 7, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


class Depthwise(nn.Module):
    """A MobileNet-like block: pointwise, depthwise, pointwise, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.block = nn.Sequential(
            nn.Conv2d(8, 16, 1, bias=False),
            nn.GroupNorm(2, 16),
            nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False),
            nn.ReLU6(),
            nn.Conv2d(16, 8, 1),
        )
        self.head = nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stem(images)
        return self.head((features + self.block(features)).mean((2, 3)))


class VisionTransformer(nn.Module):
    """One block with a class token, a table of positions and multi-head attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 5, WIDTH))
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.positions
        return self.head(self.block(tokens)[:, 0])


class Recurrent(nn.Module):
    """An embedding with sparse gradients and an LSTM of two layers, one module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS, WIDTH, padding_idx=PADDING, sparse=True)
        self.cell = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)
        self.also_head = self.head

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.also_head(self.cell(self.table(tokens))[0][:, -1])


class LanguageModel(nn.Module):
    """A tied head, and a causal mask of -inf among the buffers."""

    mask: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS, WIDTH)
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0, batch_first=True)
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("mask", torch.full((LENGTH, LENGTH), -torch.inf).triu(1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.table(tokens), src_mask=self.mask))[:, -1]


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "convolutions": Convolutions,
    "depthwise": Depthwise,
    "vision transformer": VisionTransformer,
    "recurrent": Recurrent,
    "language model": LanguageModel,
}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def family(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model with weights that depend on the name alone."""
    torch.manual_seed(len(name))
    return FAMILIES[name]().to(dtype)


def task(name: str, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels; of the tokens only a half occur."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (16,), generator=generator)
    if name in ("recurrent", "language model"):
        tokens = torch.randint(1, TOKENS // 2, (16, LENGTH), generator=generator)
        tokens[:, 0] = PADDING
        return tokens, labels
    return torch.randn(16, 3, 8, 8, generator=generator).to(dtype) + labels[:, None, None, None].to(dtype), labels


def fit(model: nn.Module, name: str, *, steps: int, rate: float) -> list[float]:
    """Train on the family's task whatever requires gradients; the losses before each step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    inputs, labels = task(name, parameters[0].dtype)
    if isinstance(model, Recurrent) and model.table.sparse:
        optimiser: torch.optim.Optimizer = torch.optim.SGD(parameters, rate * 10)
    else:
        optimiser = torch.optim.Adam(parameters, rate, eps=1e-4)
    inputs = inputs.to(next(iter(model.state_dict().values())).dtype) if inputs.is_floating_point() else inputs
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs).float(), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses
