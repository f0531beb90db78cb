"""The fog node."""

from logging import getLogger

from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from quickstart.task import training_of
from rinr_flower.strategies import FogNode

log = getLogger("flwr")
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Share, train and evaluate, round after round."""
    config = context.run_config
    settings = training_of(config).to_config()
    del settings["class-names"]  # the fog takes those of the captures
    strategy = FogNode(
        codec=str(config["codec"]),
        inner=FedAvg() if config["average"] else None,
        min_devices=int(config["min-devices"]),
        fraction_query=float(config["fraction-query"]),
    )
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(),
        num_rounds=int(config["num-server-rounds"]),
        timeout=600,
        train_config=ConfigRecord(settings),
        evaluate_config=ConfigRecord(settings),
    )
    for kind, (payload, message) in strategy.ledger.by_kind().items():
        log.info("%s: %d bytes, %d with the messages around them", kind, payload, message)
