"""Flower's messages outside the processes that Flower starts."""

from __future__ import annotations

from flwr.supercore.task_identity import TaskIdentity  # flwr has no public way; pyproject bounds its version for it

SERVER_NODE = 1
RUN = 1


def take_server_identity() -> None:
    """Make :class:`flwr.app.Message` usable in this process, as Flower does where it starts a ServerApp."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, 1, SERVER_NODE
