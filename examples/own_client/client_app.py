"""A ClientApp of your own for a fog node, with a torch model that is no detector of ours.

The messages are those of docs/strategies.md: a QUERY is answered with captures, a TRAIN message brings the others'.
"""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from rinr_flower.codecs import codecs, decode
from rinr_flower.datasets import load
from rinr_flower.messages.protocol import Capture, captures_content, read_payloads, read_query

app = ClientApp()


def camera(context: Context):
    """The frames that this device captures: its own sequence of the generated sample."""
    return load("sample:sequences=4,frames=12,width=128,height=96")[int(context.node_config["partition-id"])]


class Finder(torch.nn.Sequential):
    """Says where in a picture the object is: centre x and y, width and height as shares of the picture."""

    def __init__(self):
        layers = [torch.nn.LazyConv2d(16, 3, 2), torch.nn.ReLU(), torch.nn.LazyConv2d(32, 3, 2), torch.nn.ReLU()]
        super().__init__(*layers, torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.LazyLinear(4))


def start(message: Message) -> Finder:
    """The model that the message brings, or a new one."""
    torch.manual_seed(0)
    model = Finder()
    model(torch.zeros(1, 3, 96, 128))
    if arrays := message.content["arrays"]:
        model.load_state_dict(arrays.to_torch_state_dict())
    return model


def tensors(clips):
    """All frames that have a box, as pictures and targets."""
    frames = [frame for clip in clips for frame in clip.frames if len(frame.boxes)]
    pictures = torch.stack([torch.tensor(f.image).permute(2, 0, 1) / 255 for f in frames])
    boxes = torch.stack([torch.tensor(f.boxes[0]) for f in frames]) / torch.tensor([128, 96, 128, 96])
    return pictures, torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


@app.query()
def query(message: Message, context: Context) -> Message:
    server_round, upload = read_query(message.content)
    clip, first, captures = camera(context), 4 * (server_round - 1), []
    if upload is not None and first < len(clip):  # None asks for the name alone
        new = clip[first : first + 4]  # four in every round; afterwards the device has no new ones
        captures = [Capture(clip.name, f"round {server_round}", new.file_bytes(), codecs.create(upload).encode(new))]
    return Message(captures_content(clip.name, captures), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    model, server_round = start(message), message.content["config"]["server-round"]
    own = camera(context)[: 4 * server_round]
    pictures, targets = tensors([own, *map(decode, read_payloads(message.content))])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(message.content["config"].get("steps", 30)):
        optimiser.zero_grad()
        loss = (model(pictures) - targets).abs().mean()
        loss.backward()
        optimiser.step()
    metrics = MetricRecord({"num-examples": len(pictures), "train_loss": float(loss.detach())})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    pictures, targets = tensors([camera(context)[8:]])
    with torch.no_grad():
        error = float((start(message)(pictures) - targets).abs().mean())
    metrics = MetricRecord({"num-examples": len(pictures), "error": error})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
