"""The vectorised tree against one that carries every payload link by link."""

import resource
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rinr_flower.bandwidth.scale import Deployment, fog_nodes_needed, load_of
from rinr_flower.errors import ConfigError


@st.composite
def deployments(draw):
    n = draw(st.integers(2, 24))
    whole = st.lists(st.integers(0, 1000), min_size=n, max_size=n)
    return Deployment(
        np.array(draw(whole), float),
        np.array(draw(whole), float),
        np.array(draw(whole), float),
        sharing=draw(st.sampled_from(["all", "nearest", "groups"])),
        receivers=draw(st.integers(1, n - 1)),
        fog_nodes=draw(st.integers(1, n)),
        fan_out=draw(st.integers(2, 4)),
        fog_rate_bytes_per_s=10.0,
        device_rate_bytes_per_s=5.0,
        backhaul_rate_bytes_per_s=100.0,
        encode_seconds_per_frame=0.5,
        encoders=draw(st.integers(1, 3)),
        broadcast=draw(st.booleans()),
    )


def receivers(d, i):
    n = d.devices
    if d.sharing == "all":
        return [j for j in range(n) if j != i]
    if d.sharing == "nearest":
        return [(i + k) % n for k in range(1, d.receivers + 1)]
    size = d.receivers + 1
    return [j for j in range(i // size * size, min(i // size * size + size, n)) if j != i]


def carry(d):
    """Every payload, link by link through the tree."""
    n, leaves = d.devices, d.fog_nodes
    leaf = [i * leaves // n for i in range(n)]

    def path(node):
        nodes, found = leaves, []
        level = 0
        while nodes > 1:
            found.append((level, node))
            node, nodes, level = node // d.fan_out, -(-nodes // d.fan_out), level + 1
        return found

    up, encode, down = np.zeros(leaves), np.zeros(leaves), np.zeros(leaves)
    received, links, serverless, sent = np.zeros(n), {}, 0.0, np.zeros(n)
    for i in range(n):
        to = receivers(d, i)
        if not to:
            continue
        up[leaf[i]] += d.upload_bytes[i]
        sent[i] = d.upload_bytes[i]
        encode[leaf[i]] += d.frames[i] * d.encode_seconds_per_frame / d.encoders
        serverless += d.upload_bytes[i] * (1 if d.broadcast else len(to))
        crossed = set()
        for j in to:
            received[j] += d.payload_bytes[i]
            if not d.broadcast:
                down[leaf[j]] += d.payload_bytes[i]
            rising, falling = path(leaf[i]), path(leaf[j])
            while rising and falling and rising[-1] == falling[-1]:
                rising.pop()
                falling.pop()
            crossed |= {("up", *link) for link in rising} | {("down", *link) for link in falling}
        if d.broadcast:
            for target in {leaf[j] for j in to}:
                down[target] += d.payload_bytes[i]
        for link in crossed:
            links[link] = links.get(link, 0.0) + d.payload_bytes[i]
    return up, encode, down, received, sent, links, serverless


@settings(max_examples=300, deadline=None)
@given(deployments())
def test_the_load_is_what_carrying_every_payload_gives(d):
    up, encode, down, received, sent, links, serverless = carry(d)
    load = load_of(d)
    assert load.uplink_bytes == pytest.approx(up.sum())
    assert load.downlink_bytes == pytest.approx(down.sum(), abs=1e-6)
    assert load.backhaul_bytes == pytest.approx(sum(links.values()), abs=1e-6)
    assert load.serverless_bytes == pytest.approx(serverless)
    expected = {
        "fog_receives": up.max() / 10,
        "encoder": encode.max(),
        "backhaul": max(links.values(), default=0.0) / 100,
        "fog_sends": down.max() / 10,
        "device_receives": received.max() / 5,
        "device_sends": sent.max() / 5,
    }
    for name, seconds in expected.items():
        assert load.seconds[name] == pytest.approx(seconds, abs=1e-6), name


def ten(n, **options):
    """n equal devices: 100 kB up, 5 kB encoded, 8 frames."""
    return Deployment(np.full(n, 1e5), np.full(n, 5e3), np.full(n, 8.0), **options)


def test_saturation_and_how_many_fog_nodes_relieve_it():
    d = ten(1000, fog_rate_bytes_per_s=1e6, encode_seconds_per_frame=0.05, period_s=60.0)
    load = load_of(d)
    # 100 MB up at 1 MB/s take 100 s, 8,000 frames 400 s, 45 MB down 45 s
    assert load.seconds["fog_receives"] == pytest.approx(100)
    assert load.seconds["encoder"] == pytest.approx(400)
    assert load.seconds["fog_sends"] == pytest.approx(45)
    assert load.saturated == ["fog_receives", "encoder"]
    assert load.bottleneck == "encoder"
    needed = fog_nodes_needed(d)
    assert needed == {"fog_receives": 2, "encoder": 7, "fog_sends": 1, "all": 7}
    for count, keeps_up in ((6, False), (7, True)):
        assert (load_of(replace(d, fog_nodes=count)).seconds["encoder"] <= 60) == keeps_up
    assert fog_nodes_needed(replace(d, encode_seconds_per_frame=100.0))["encoder"] is None


def test_everyone_to_everyone_cannot_be_relieved_by_more_fog_nodes():
    """Each device must receive everything: the last hop grows with the number of devices."""
    d = ten(5000, sharing="all", broadcast=True, fog_rate_bytes_per_s=1e5)
    assert fog_nodes_needed(d)["fog_sends"] is None
    assert load_of(d).seconds["device_receives"] == pytest.approx(4999 * 5e3 / 2e6)


def test_losses_are_sent_again():
    calm, lossy = load_of(ten(50)), load_of(ten(50, loss=0.2))
    assert lossy.seconds["fog_receives"] == pytest.approx(calm.seconds["fog_receives"] / 0.8)
    assert lossy.uplink_bytes == calm.uplink_bytes


@pytest.mark.parametrize("sharing", ["all", "nearest", "groups"])
def test_a_hundred_thousand_devices_take_seconds(sharing):
    d = ten(100_000, sharing=sharing, fog_nodes=500, encode_seconds_per_frame=0.01)
    start = time.process_time()
    load_of(d)
    fog_nodes_needed(d)
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4e6  # kB


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fog_nodes": 0}, "0 fog nodes"),
        ({"receivers": 10}, "10 receivers among 10"),
        ({"fan_out": 1}, "fan_out 1"),
        ({"period_s": 0.0}, "period_s 0.0"),
        ({"frames": np.ones(3)}, "10, 10 and 3"),
        ({"loss": 1.0}, "loss 1.0 is not in 0 <= loss < 1"),
        ({"loss": -1}, "loss -1"),
        ({"encoders": 0}, "encoders 0 is not a whole number from 1"),
        ({"sharing": "ring"}, "sharing 'ring' is not one of all, nearest, groups"),
        ({"encode_seconds_per_frame": -1}, "encode_seconds_per_frame -1 is not a number from 0"),
        ({"period_s": "x"}, "period_s 'x' is not a number above 0"),
        ({"fog_nodes": 1.5}, "1.5 fog nodes"),
    ],
)
def test_bad_deployments_are_named(options, text):
    with pytest.raises(ConfigError, match=text):
        replace(ten(10), **options)
