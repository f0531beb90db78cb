"""The fog node as a ServerApp."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from rinr_flower.simulations.deployment import fog

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the scenario that the run's configuration names, over the devices that are connected."""
    fog(grid, context)
