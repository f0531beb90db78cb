"""The policy that shares data: every device receives the payloads of the others."""

from __future__ import annotations

from flwr.app import RecordDict

from rinr_flower.messages.protocol import PAYLOADS, bytes_record
from rinr_flower.strategies.policy import Outgoing, Policy, Round


class PayloadSharing(Policy):
    """Sends each device all payloads of other devices that it has not confirmed yet."""

    def summary(self) -> str:
        return "Devices receive each other's payloads"

    def train_content(self, fog_round: Round, device: str, content: RecordDict) -> Outgoing:
        numbers = fog_round.memory.missing(device)
        fog_round.memory.note_sent(device, numbers, numbers)
        shared = fog_round.memory.shared
        clips = [(shared[i].device, shared[i].clip, fog_round.payload(i)) for i in numbers]
        return Outgoing(RecordDict({**content, PAYLOADS: bytes_record([array for *_, array in clips])}), clips)
