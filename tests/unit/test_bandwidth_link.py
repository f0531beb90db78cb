"""The link model against a slow, literal account of who is on air when, and against drawn losses."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_simulation import simulate

from rinr_flower.bandwidth import Entry, LinkModel
from rinr_flower.bandwidth.link import expected_tries
from rinr_flower.bandwidth.profiles import PROFILES
from rinr_flower.errors import ConfigError
from rinr_flower.registry import build_dataclass


def fog_round(devices=4, upload=1_000_000, payload=50_000):
    """Uploads of every device, then everyone's payload to all others."""
    names = [f"d{i}" for i in range(devices)]
    entries = [Entry(1, n, "fog", "upload", upload, upload, n) for n in names]
    return entries + [Entry(1, "fog", to, "payload", payload, payload, n) for n in names for to in names if n != to]


def test_shared_medium_is_all_bytes_one_after_the_other():
    entries = fog_round()
    link = LinkModel(rate_bytes_per_s=1e6, latency_s=0.1)
    # 4 uploads and 12 payloads that travel as 4 messages
    assert link.seconds(entries) == pytest.approx((4 * 1.0 + 12 * 0.05) + 8 * 0.1)
    assert link.seconds_by_phase(entries)[1, "upload"] == pytest.approx(4.4)


def test_own_links_take_as_long_as_the_slowest():
    entries = fog_round()
    link = LinkModel(rate_bytes_per_s=1e6, shared_medium=False, latency_s=0.1)
    assert link.seconds(entries) == pytest.approx(1.0 + 0.15 + 0.2)
    slow = LinkModel(rate_bytes_per_s=1e6, shared_medium=False, node_rates={"d2": 1e5})
    assert slow.seconds(entries) == pytest.approx(10.0 + 1.5)
    capped = LinkModel(rate_bytes_per_s=1e6, shared_medium=False, node_rate_bytes_per_s=2e6)
    assert capped.seconds(entries) == pytest.approx(4e6 / 2e6 + 12 * 0.05 / 2)


def test_an_lte_radio_does_not_send_to_all_its_peers_at_full_rate_each():
    link = LinkModel.of_profile("lte", latency_s=0.0)
    device = 6e6 / 8
    shares = [Entry(1, "d0", f"d{i}", "share", 1000, 1000, "d0") for i in range(1, 10)]
    assert link.seconds(shares) == pytest.approx(9 * 1000 / device)
    # the fog is wired: each device's own radio decides how soon it has what it receives
    sent = [Entry(1, "fog", f"d{i}", "payload", 1000, 1000) for i in range(10)]
    assert link.seconds(sent) == pytest.approx(1000 / device)


def test_all_rates_change_together():
    link = LinkModel(
        rate_bytes_per_s=1e6, shared_medium=False, node_rate_bytes_per_s=2e6, node_rates={"fog": 3e6}, latency_s=0.0
    )
    assert link.times_as_fast(2.5).seconds(fog_round()) == pytest.approx(link.seconds(fog_round()) / 2.5)


def test_broadcast_sends_each_content_once():
    entries = fog_round()
    link = LinkModel(rate_bytes_per_s=1e6, broadcast=True, joules_per_byte_sent=2.0, joules_per_byte_received=1.0)
    assert link.seconds(entries) == pytest.approx(4 + 4 * 0.05)
    assert link.joules(entries) == pytest.approx(2 * (4e6 + 4 * 5e4) + (4e6 + 12 * 5e4))
    # without a content there are no copies
    plain = [Entry(1, "fog", f"d{i}", "control", 10, 10) for i in range(3)]
    assert link.seconds(plain) == pytest.approx(30 / 1e6)


def test_packet_headers_and_duty_cycle():
    one = [Entry(1, "a", "b", "share", 1000, 1000)]
    link = LinkModel(rate_bytes_per_s=100, packet_bytes=300, packet_header_bytes=50)
    assert link.seconds(one) == pytest.approx((1000 + 4 * 50) / 100)
    assert LinkModel(rate_bytes_per_s=100, duty_cycle=0.1).seconds(one) == pytest.approx(100)
    # ten senders at 10 % fill the medium, and are no slower than one
    ten = [Entry(1, f"a{i}", "b", "share", 1000, 1000) for i in range(10)]
    assert LinkModel(rate_bytes_per_s=100, duty_cycle=0.1).seconds(ten) == pytest.approx(100)


@pytest.mark.parametrize(("loss", "receivers"), [(0.0, 3), (0.1, 1), (0.3, 1), (0.3, 9), (0.6, 40)])
def test_expected_tries_match_drawn_ones(loss, receivers):
    drawn = np.random.default_rng(0).geometric(1 - loss, (40_000, receivers)).max(axis=1).mean()
    assert expected_tries(loss, receivers) == pytest.approx(drawn, rel=0.02)
    if receivers == 1:
        assert expected_tries(loss, 1) == pytest.approx(1 / (1 - loss))


LINKS = st.builds(
    LinkModel,
    rate_bytes_per_s=st.sampled_from([1e4, 2e6]),
    latency_s=st.sampled_from([0.0, 0.02]),
    broadcast=st.booleans(),
    shared_medium=st.booleans(),
    node_rate_bytes_per_s=st.sampled_from([None, 3e4]),
    packet_bytes=st.sampled_from([222, 1500]),
    packet_header_bytes=st.sampled_from([0, 13]),
    duty_cycle=st.sampled_from([1.0, 0.01, 0.3]),
    joules_per_byte_sent=st.just(2e-6),
    joules_per_byte_received=st.just(1e-6),
)


@settings(max_examples=40, deadline=None)
@given(LINKS, st.integers(2, 6))
def test_without_loss_the_simulation_is_the_model(link, devices):
    entries = fog_round(devices, 60_000, 3_000)
    drawn = simulate(entries, link, seed=0)
    assert drawn.total_seconds == pytest.approx(link.seconds(entries), rel=0.02)
    assert math.fsum(drawn.joules.values()) == pytest.approx(link.joules(entries))
    assert drawn.resent_bytes == 0


@pytest.mark.parametrize("broadcast", [False, True])
def test_with_loss_the_simulation_averages_to_the_model(broadcast):
    link = LinkModel(rate_bytes_per_s=1e5, loss=0.2, broadcast=broadcast, joules_per_byte_sent=1e-6)
    entries = fog_round(4, 60_000, 6_000)
    runs = [simulate(entries, link, seed=s) for s in range(60)]
    assert np.mean([r.total_seconds for r in runs]) == pytest.approx(link.seconds(entries), rel=0.01)
    assert np.mean([sum(r.joules.values()) for r in runs]) == pytest.approx(link.joules(entries), rel=0.01)
    assert len({r.total_seconds for r in runs}) > 10
    assert simulate(entries, link, seed=5) == simulate(entries, link, seed=5)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_profiles(name):
    link = build_dataclass(LinkModel, {"profile": name, "broadcast": True}, where="link")
    assert link.broadcast
    assert link.rate_bytes_per_s == PROFILES[name].options["rate_bytes_per_s"]
    assert link.seconds(fog_round()) > 0
    assert PROFILES[name].source


def test_energy_of_the_profiles_is_in_the_known_range():
    """Micro-joules a byte: a few for Wi-Fi and LTE, some hundred for LoRa."""
    sent = {name: LinkModel.of_profile(name).joules_per_byte_sent * 1e6 for name in PROFILES}
    assert 1 < sent["wifi"] < 5
    assert 3 < sent["lte"] < 10
    assert 100 < sent["lora"] < 200


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"profile": "5g"}, "known: source_2MBps, wifi, lte, lora"),
        ({"rate_bytes_per_s": 0}, "rate_bytes_per_s 0.0 is not a number above 0"),
        ({"loss": 1}, "loss 1.0"),
        ({"duty_cycle": 0}, "duty_cycle 0.0"),
        ({"latency_s": -1}, "latency_s -1.0"),
        ({"packet_bytes": 0}, "packet_bytes 0"),
        ({"node_rates": {"a": -5}}, r"node_rates\['a'\] -5"),
        ({"node_rates": 7}, "not a mapping"),
        ({"speed": 7}, "no option 'speed'"),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError, match=text):
        build_dataclass(LinkModel, options, where="link")


@pytest.mark.parametrize(
    "options", [{"loss": "x"}, {"latency_s": None}, {"rate_bytes_per_s": None}, {"packet_bytes": "x"}]
)
def test_values_of_other_types_are_named(options):
    with pytest.raises(ConfigError, match=r"link \w+ ('x'|None) is not "):
        LinkModel(**options)
