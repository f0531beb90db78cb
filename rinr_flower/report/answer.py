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
    ratio_text,
    seconds_text,
    share_text,
)


def answer(summary: Mapping[str, Any]) -> Html:
    """The answer first: bytes, time and accuracy against serverless JPEG, and the strongest rival."""
    head = summary["headline"]
    if "gain" not in head:
        return element(
            "p", "This run holds no payload, so there is no saving to state. What is there follows.", class_="lead"
        )
    gain = number(head["gain"])
    more = "fewer" if gain >= 1 else "more"
    factor = gain if gain >= 1 else 1 / gain
    lead = join(
        "Sharing these captures as ",
        element("b", str(head["codec"])),
        " ",
        "through the fog node" if str(head["scheme"]).startswith("fog") else "from device to device",
        f" took {bytes_text(head['bytes'])}: ",
        element("b", f"{factor:.3g} times {more} bytes"),
        f" than the {bytes_text(head['baseline_bytes'])} of devices that send each other their JPEG files.",
    )
    tiles = [
        tile(ratio_text(factor), f"{more} bytes than serverless JPEG", own=True),
        tile(
            seconds_text(head["link_seconds"]),
            f"on the link, instead of {seconds_text(head['baseline_link_seconds'])} for serverless JPEG",
        ),
    ]
    if math.isfinite(number(head["total_seconds"])) and math.isfinite(number(head["baseline_total_seconds"])):
        tiles.append(
            tile(
                seconds_text(head["total_seconds"]),
                f"from capture to trained detector, instead of {seconds_text(head['baseline_total_seconds'])}",
            )
        )
    if "map50_95" in head:
        versus = [
            f"{share_text(head[key])} {what}"
            for key, what in (("start_map50_95", "before training"), ("jpeg_map50_95", "trained on the JPEG files"))
            if key in head
        ]
        tiles.append(tile(share_text(head["map50_95"]), "mAP50-95 on held-back frames; " + ", ".join(versus)))
        tiles.append(tile(share_text(head["map50"]), "mAP50 on held-back frames"))
    return join(
        element("p", lead, class_="lead"),
        element("div", *tiles, class_="tiles"),
        element("p", rival_text(head)) if head.get("rivals") is not None else None,
    )


def tile(value: str, text: str, *, own: bool = False) -> Html:
    """One number with what it says."""
    return element("div", element("b", value), element("span", text), class_="tile own" if own else "tile")


def rival_text(head: Mapping[str, Any]) -> Html:
    """Who comes closest at no worse object quality, who wins, and who is smaller but worse."""
    rivals, own_db = head["rivals"], decibel_text(head["object_db"])
    as_good = [r for r in rivals if r["as_good"]]
    smaller = [r for r in rivals if not r["as_good"] and number(r["ratio"]) < 1]
    texts: list[object] = []
    for route, where in (("fog", "Through the fog"), ("serverless", "Without a fog, if devices encode for themselves")):
        rival = next((r for r in as_good if r["name"].startswith(route)), None)
        if rival is None:
            continue
        ratio, name = number(rival["ratio"]), element("b", scheme_words(rival["name"]))
        size = f" ({bytes_text(rival['bytes'])}, {decibel_text(rival['object_db'])} on the object)"
        wins = f" wins with {1 / ratio:.3g} times fewer bytes. "
        texts += [where, ", the strongest rival is " if ratio >= 1 else ", ", name, size]
        texts.append(f" with {ratio:.3g} times as many bytes. " if ratio >= 1 else wins)
    if as_good:
        texts.append(f"A rival's object PSNR is at most 1 dB below this run's {own_db}. ")
    else:
        texts.append(f"No other way of sharing in this report reaches its object PSNR ({own_db}) within 1 dB. ")
    if smaller:
        names = [
            f"{scheme_words(r['name'])} ({bytes_text(r['bytes'])}, {decibel_text(r['object_db'])})" for r in smaller[:3]
        ]
        if len(smaller) > 3:
            names.append(f"and {len(smaller) - 3} more below")
        texts += ["Fewer bytes, but a worse object: ", "; ".join(names), "."]
    return join(*texts)


def scheme_words(name: str) -> str:
    """``fog avif q30`` as ``avif q30 via fog``."""
    route, _, codec = name.partition(" ")
    return f"{codec} {ROUTES.get(route, route)}"


def size_text(summary: Mapping[str, Any]) -> str:
    """How big the run was."""
    frames = sum(c["frames"] for c in summary["codecs"] if c["own"])
    counts = ((len(summary["devices"]), "device"), (len(summary["rounds"]), "round"), (frames, "shared frame"))
    return ", ".join(f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts if count) + "."
