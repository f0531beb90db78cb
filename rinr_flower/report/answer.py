"""The answer that a report opens with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rinr_flower.report.html import Html, element, join
from rinr_flower.report.units import (
    ROUTES,
    bytes_text,
    decibel_text,
    number,
    rate_text,
    ratio_text,
    seconds_text,
    share_text,
)

WHOLE = 0.9995  # share of the captures from which on a figure is not called extrapolated


def heading(summary: Mapping[str, Any]) -> str:
    """The run in one line: what was shared, and what it saved."""
    head = summary["headline"]
    if "gain" not in head:
        return "Bandwidth report"
    return f"{scheme_words(head['scheme'])}: {fewer_text(number(head['gain']))} than JPEG from device to device"


def answer(summary: Mapping[str, Any]) -> Html:
    """The answer first: who takes the fewest bytes, what this run took, in how much time and with what accuracy."""
    head = summary["headline"]
    if "gain" not in head:
        why = "in it no device receives a JPEG byte from another" if summary["schemes"] else "it holds no payload"
        return element("p", f"This run has no saving to state, because {why}. What is there follows.", class_="lead")
    return join(
        element("p", winner_text(head), class_="lead"),
        element("div", *tiles(summary), class_="tiles"),
        element("p", time_text(head)) if math.isfinite(number(head["total_seconds"])) else None,
        near_zero_note(head),
        element("p", rival_text(head)) if head.get("rivals") is not None else None,
        element("p", hint) if (hint := video_hint(summary)) else None,
    )


def video_hint(summary: Mapping[str, Any]) -> str:
    """How to have video among the rivals, if the run's rivals lack it because PyAV was not installed; else empty."""
    environment, scenario = summary["environment"], summary["scenario"]
    if "flwr" not in environment or "av" in environment or not scenario.get("rivals"):
        return ""
    return "H.264 and AV1 are not among the rivals: PyAV is not installed (pip install 'rinr_flower[video]')."


def winner_text(head: Mapping[str, Any]) -> Html:
    """Name the way of fewest bytes at no worse quality, and what this run took beside it."""
    own, winner = element("b", scheme_words(head["scheme"])), head["winner"]
    took = join(bytes_text(head["bytes"]), " of data")
    baseline = (
        f"{fewer_text(number(head['gain']))} than the {bytes_text(head['baseline_bytes'])} of devices that send each "
        "other their JPEG files"
    )
    if winner["name"] == head["scheme"]:
        ways = f" of the {head['compared_ways']} ways of no worse quality here" if head["compared_ways"] > 1 else ""
        return join("This run, ", own, ", took the fewest bytes", ways, ": ", took, ", ", baseline, ".")
    return join(
        element("b", scheme_words(winner["name"])),
        f" would take the fewest bytes at no worse quality: {size_of(winner)}. This run, ",
        own,
        ", took ",
        took,
        f": {1 / number(winner['ratio']):.3g} times as many, and {baseline}.",
    )


def tiles(summary: Mapping[str, Any]) -> list[Html]:
    """The figures of the run beside those of serverless JPEG."""
    head = summary["headline"]
    gain = number(head["gain"])
    instead = f"instead of {bytes_text(head['baseline_total_bytes'])}"
    found = [
        tile(
            ratio_text(gain if gain >= 1 else 1 / gain),
            f"{'fewer' if gain >= 1 else 'more'} bytes of data than serverless JPEG",
            kind="own",
        ),
        tile(bytes_text(head["total_bytes"]), f"with models and messages ({start_model_text(head)}), {instead}"),
        tile(
            seconds_text(head["link_seconds"]),
            f"on the link, instead of {seconds_text(head['baseline_link_seconds'])} for serverless JPEG",
        ),
    ]
    total, baseline = number(head["total_seconds"]), number(head["baseline_total_seconds"])
    if math.isfinite(total):
        versus = f", instead of {seconds_text(baseline)}" if math.isfinite(baseline) else ""
        found.append(
            tile(
                seconds_text(total), "from capture to trained detector" + versus, kind="bad" if total > baseline else ""
            )
        )
    if "map50_95" in head:
        before = f", {share_text(head['start_map50_95'])} before training" if "start_map50_95" in head else ""
        found.append(tile(share_text(head["map50_95"]), f"mAP50-95 on held-back frames{before}"))
        found.append(
            tile(
                share_text(head["map50"]),
                f"mAP50, mean over devices; the least is {share_text(head['least_map50'])}",
                kind="bad" if head["near_zero"] else "",
            )
        )
    if summary["stored_bytes"]:
        stored = bytes_text(summary["stored_bytes"])
        found.append(tile(stored, "of the fog's messages, stored at the SuperLink, each object once"))
    return found


def tile(value: str, text: str, *, kind: str = "") -> Html:
    """One number with what it says; ``kind`` is ``own`` or ``bad``."""
    return element("div", element("b", value), element("span", text), class_=f"tile {kind}".strip())


def start_model_text(head: Mapping[str, Any]) -> str:
    """Write the bytes of the start model, once and in all."""
    count, total = head["start_models"], number(head["start_model_bytes"])
    if not count:
        return "no start model was sent"
    return f"start model: {count} × {bytes_text(total / count)} = {bytes_text(total)}"


def time_text(head: Mapping[str, Any]) -> str:
    """Compare the run with serverless JPEG in time, and name the link rate at which the order turns."""
    total, baseline = number(head["total_seconds"]), number(head["baseline_total_seconds"])
    turning, rate = number(head.get("turning_rate")), number(head.get("rate_bytes_per_s"))
    if math.isnan(baseline) or math.isnan(turning):
        return ""
    order = "sooner" if total < baseline else "later"
    text = (
        f"From capture to trained detector: {seconds_text(total)}, {order} than JPEG from device to device "
        f"({seconds_text(baseline)}) on this link of {rate_text(rate)}"
    )
    if math.isinf(turning):
        return f"{text}, and sooner on any link."
    return f"{text}; sooner on links below {rate_text(turning)}."


def near_zero_note(head: Mapping[str, Any]) -> Html | None:
    """Devices whose detector finds nothing, which a mean hides."""
    names = head.get("near_zero") or []
    if not names:
        return None
    found = ", ".join(map(str, names))
    return element(
        "div",
        element("b", f"{len(names)} of the devices find next to nothing after the last round: "),
        f"{found}. The mean mAP50 of {share_text(head['map50'])} hides it.",
        class_="warn",
    )


def rival_text(head: Mapping[str, Any]) -> Html:
    """The strongest rival on each route at no worse quality, and who is smaller but worse."""
    rivals = head["rivals"]
    own = f"{decibel_text(head['object_db'])} on the object, {decibel_text(head['frame_db'])} over the frame"
    as_good = [r for r in rivals if r["as_good"]]
    smaller = [r for r in rivals if not r["as_good"] and number(r["ratio"]) < 1]
    texts: list[object] = []
    for route, where in (("fog", "Through the fog"), ("serverless", "Without a fog, if devices encode for themselves")):
        rival = next((r for r in as_good if r["name"].startswith(route)), None)
        if rival is None:
            continue
        ratio, name = number(rival["ratio"]), element("b", scheme_words(rival["name"]))
        texts += [where, ", the strongest rival is ", name, f" ({size_of(rival)})"]
        texts.append(f" with {ratio:.3g} times as many bytes. " if ratio >= 1 else f" with {fewer_text(1 / ratio)}. ")
    if as_good:
        texts.append(f"No worse quality: PSNR at most 1 dB below this run's ({own}), over the same clips. ")
    else:
        texts.append(f"No other way of sharing in this report is within 1 dB of its quality ({own}). ")
    if smaller:
        names = [f"{scheme_words(r['name'])} ({size_of(r)})" for r in smaller[:3]]
        if len(smaller) > 3:
            names.append(f"and {len(smaller) - 3} more below")
        texts += ["Fewer bytes, but worse: ", "; ".join(names), "."]
    return join(*texts)


def size_of(row: Mapping[str, Any]) -> str:
    """Bytes and quality of a rival; an extrapolated size is marked."""
    quality = [
        f"{decibel_text(row[key])} {where}"
        for key, where in (("object_db", "on the object"), ("frame_db", "over the frame"))
        if key in row and number(row[key]) < math.inf
    ]
    return ", ".join([extrapolated_bytes_text(row["bytes"], row["coverage"]), *quality])


def extrapolated_bytes_text(size: Any, coverage: Any) -> str:
    """Bytes, with a mark where only a part of the captures was encoded."""
    return bytes_text(size) if number(coverage) >= WHOLE else f"≈{bytes_text(size)}"


def fewer_text(gain: float) -> str:
    """``7.81 times fewer bytes``."""
    return f"{gain if gain >= 1 else 1 / gain:.3g} times {'fewer' if gain >= 1 else 'more'} bytes"


def scheme_words(name: str) -> str:
    """``fog avif q30`` as ``avif q30 via fog``."""
    route, _, codec = name.partition(" ")
    return f"{codec} {ROUTES.get(route, route)}"


def size_text(summary: Mapping[str, Any]) -> str:
    """Write the run's name and size."""
    frames = sum(d["frames"] for d in summary["devices"])
    counts = ((len(summary["devices"]), "device"), (len(summary["rounds"]), "round"), (frames, "shared frame"))
    sizes = [f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts if count]
    return f"Run {summary['title']}: {', '.join(sizes)}."
