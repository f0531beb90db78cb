"""The fog node as a ServerApp."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from rinr_flower.simulations.flower_run import run_fog

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the scenario that the run's configuration names."""
    run_fog(grid, context)
