"""FedAvg whose models travel as compressed updates: the wrapper is the only line that knows of it."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from averaging.client_app import network
from rinr_flower.strategies import CompressedUpdates

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average, round after round; the log says what the updates take."""
    strategy = CompressedUpdates(FedAvg())
    rounds = int(context.run_config["num-server-rounds"])
    strategy.start(grid=grid, initial_arrays=ArrayRecord(network().state_dict()), num_rounds=rounds)
