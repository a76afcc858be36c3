"""Placement over published prices: the cheapest place that is allowed, found again by brute force."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest

from mc_pipelines.decision.packs import load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.runner.driver import Capabilities, Egress, StartClass
from mc_pipelines.runner.placement import Candidate, place
from mc_pipelines.runner.price import Price, PriceTable

CAPABLE = Capabilities(
    read_only_root=True, egress=frozenset({Egress.NONE, Egress.OPEN}), start_class=StartClass.WARM, log_bytes=1 << 20
)
MANIFEST = manifest_of({"tenant": "acme", "workflow": "w", "argv": ["true"], "data_class": "internal"})
FLAGS = {"runner_azure_preview": True}


@pytest.fixture(scope="module")
def prices(data_dir: Path) -> PriceTable:
    """The cheapest core of every region that names its cores, in millionths of a dollar an hour."""
    found = sorted((data_dir / "runner").glob("prices_*.csv"))
    if not found:
        pytest.skip(f"no price list in {data_dir / 'runner'}")
    cheapest: dict[tuple[str, str], Price] = {}
    for path in found:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if not row["vcpus"]:
                    continue
                micro = round(float(row["price_per_hour"]) / float(row["vcpus"]) * 1_000_000)
                place_of = row["cloud"], row["region"]
                price = Price(f"{path.stem}/{row['instance_type']}", row["currency"], micro)
                if place_of not in cheapest or micro < cheapest[place_of].micro_per_core_hour:
                    cheapest[place_of] = price
    return PriceTable({where: price for where, price in cheapest.items() if price.currency == "USD"})


def candidates(prices: PriceTable) -> list[Candidate]:
    return [
        Candidate(cloud, region, CAPABLE, price.micro_per_core_hour, price.price_id)
        for (cloud, region), price in sorted(prices.prices.items())
    ]


def test_the_cheapest_allowed_place_is_chosen_for_every_residency(prices: PriceTable) -> None:
    pack = load_pack("placement")
    engine, listed = RegorusEngine(pack), pack.data["regions"]
    offered = candidates(prices)
    assert len(offered) > 10
    geographies = sorted(
        {one for regions in listed.values() for each in regions.values() for one in each["geographies"]}
    )
    for count in range(3):
        for residency in combinations(geographies, count):
            placed = place(engine, pack.revision, MANIFEST, offered, residency=residency, flags=FLAGS)
            allowed = [
                one
                for one in offered
                if one.region in listed.get(one.cloud, {})
                and set(listed[one.cloud][one.region]["geographies"]) & set(residency)
            ]
            assert placed.error is None
            assert set(placed.ranked) == {one.name for one in allowed}
            assert {each["candidate"] for each in placed.denials} == {one.name for one in offered} - set(placed.ranked)
            best = min(allowed, key=lambda one: (one.micro_usd_per_cpu_hour, one.name), default=None)
            assert placed.chosen == best


def test_another_price_list_changes_the_choice_and_not_what_is_allowed(prices: PriceTable) -> None:
    pack = load_pack("placement")
    engine = RegorusEngine(pack)
    first = place(engine, pack.revision, MANIFEST, candidates(prices), residency=["us", "eu"], flags=FLAGS)
    assert first.chosen is not None
    dearer = PriceTable(
        {
            where: Price(f"{price.price_id}/dearer", price.currency, price.micro_per_core_hour * 100)
            if f"{where[0]}/{where[1]}" == first.chosen.name
            else price
            for where, price in prices.prices.items()
        }
    )
    second = place(engine, pack.revision, MANIFEST, candidates(dearer), residency=["us", "eu"], flags=FLAGS)
    assert (second.document()["input"], second.pack) == (first.document()["input"], first.pack)
    assert second.prices != first.prices
    assert second.chosen is not None
    assert second.chosen.name != first.chosen.name
    assert set(second.ranked) == set(first.ranked)
    again = place(engine, pack.revision, MANIFEST, candidates(prices)[::-1], residency=["us", "eu"], flags=FLAGS)
    assert again.document() == first.document(), "the order of the candidates decides nothing"
