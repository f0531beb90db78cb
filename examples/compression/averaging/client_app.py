"""Train a torch model of one's own; the mod is the only line that knows of compression."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from rinr_flower.clients import compressed

app = ClientApp(mods=[compressed()])


def network() -> nn.Module:
    """Any torch model."""
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.BatchNorm1d(128))
    return nn.Sequential(nn.Linear(16, 128), nn.ReLU(), hidden, nn.Linear(128, 4))


def frames(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The data of device ``number``: points about four centres, of which each device sees mostly two."""
    source = torch.Generator().manual_seed(number)
    labels = (number + torch.randint(0, 2, (128,), generator=source)) % 4
    centres = torch.eye(4).repeat(1, 4)
    return centres[labels] + 0.7 * torch.randn(128, 16, generator=source), labels


@app.train()
def train(message: Message, context: Context) -> Message:
    """One epoch from the model of the message; answer with the model."""
    model = network()
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    points, labels = frames(int(context.node_config["partition-id"]))
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for rows in torch.randperm(len(labels)).split(16):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(points[rows]), labels[rows]).backward()
        optimiser.step()
    metrics = MetricRecord({"num-examples": len(labels)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """The share classified correctly of data that no device trains on."""
    model = network().eval()
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    points, labels = (torch.cat(parts) for parts in zip(*(frames(100 + i) for i in range(4)), strict=True))
    right = float((model(points).argmax(1) == labels).float().mean())
    metrics = MetricRecord({"num-examples": len(labels), "accuracy": right})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
