"""What h2load prints, the medians of rounds, and the table in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.failure import BenchError
from bench.machine import describe_machine, table, with_section, write_section
from bench.transport.fresh_keys import keyed_messages
from bench.transport.h2load import (
    Load,
    framed,
    framed_bytes,
    quantile,
    read_log,
    read_output,
)
from bench.transport.measuring import Plan, Round, Sample
from bench.transport.results import as_json, results_table, throughput_ratio
from weighbridge.v1 import sidecar_service_pb2 as pb

OUTPUT = """starting benchmark...
finished in 1.19s, 8436.99 req/s, 1.30MB/s
requests: 10000 total, 10000 started, 10000 done, {succeeded} succeeded, {failed} failed, \
0 errored, 0 timeout
status codes: 10000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.55MB (1621349) total, 29.59KB (30300) headers (space savings 96.26%), \
1.00MB (1050000) data
"""


def test_rate_and_bytes_are_read() -> None:
    assert read_output(OUTPUT.format(succeeded=10000, failed=0), 10000) == (8436.99, 1050000)


def test_calls_that_failed_fail_the_bench() -> None:
    with pytest.raises(BenchError, match="of 10000 calls 9999 succeeded"):
        read_output(OUTPUT.format(succeeded=9999, failed=1), 10000)


def test_another_output_fails_the_bench() -> None:
    with pytest.raises(BenchError, match="something else than expected"):
        read_output("could not connect", 1)


def test_latencies_are_read_in_order() -> None:
    assert read_log("17\t200\t7551\n18\t200\t151\n") == [0.151, 7.551]


def test_quantiles() -> None:
    assert quantile([float(n) for n in range(100)], 0.99) == 99.0
    assert quantile([1.0], 0.99) == 1.0


def test_a_message_is_framed_as_grpc_has_it() -> None:
    assert framed(b"abc") == b"\0\0\0\0\x03abc"
    assert framed_bytes(3) == len(framed(b"abc"))


def test_keyed_messages_differ_in_their_key_alone_and_are_equally_long() -> None:
    request = pb.ConsumeRequest(customer="a", feature="f", amount=1)

    messages = keyed_messages(request, "run", 3)

    parsed = [pb.ConsumeRequest.FromString(message) for message in messages]
    assert len({one.idempotency_key for one in parsed}) == 3
    assert len({len(message) for message in messages}) == 1
    for one in parsed:
        one.ClearField("idempotency_key")
    assert parsed == [request] * 3


def rounds() -> list[Round]:
    echo = Sample(8000.0, 100.0, 0.2, 0.4)
    return [
        Round(echo, echo._replace(calls_per_s=calls_per_s)) for calls_per_s in (4000, 6000, 8000)
    ]


def plan(directory: Path) -> Plan:
    return Plan(3, Load(4, 16, 100), Load(1, 1, 10), Load(4, 16, 50), 1, directory)


def test_the_ratio_is_the_median_of_each_rounds_pair() -> None:
    assert throughput_ratio(rounds()) == 0.75


def test_the_table_has_medians_and_the_spread_of_ratios(tmp_path: Path) -> None:
    lines = results_table({"Check": rounds(), "Keyed": rounds()}, plan(tmp_path), "Keyed")

    assert "| **Check**, calls/s, 4 x 16 | 8,000 | 6,000 | 0.75 | 0.50 to 1.00 |" in lines
    assert "| Check, p99 ms, 1 x 1 | 0.400 | 0.400 | 1.00 | 1.00 to 1.00 |" in lines
    assert "| **Keyed**, CPU µs per call | 100.0 | 100.0 | 1.00 | 1.00 to 1.00 |" in lines
    assert len(lines.splitlines()) == 2 + 4 + 1


def test_samples_are_written_whole() -> None:
    samples = as_json({"Check": rounds()})["Check"]

    assert len(samples) == 3
    assert samples[0]["echo"] == rounds()[0].echo._asdict()


def test_a_section_is_replaced_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n")

    write_section(readme, "x", table(["", "n"], [["a", "1"]]))
    write_section(readme, "x", table(["", "n"], [["a", "2"]]))

    assert readme.read_text() == (
        "before\n<!-- x: begin -->\n\n|  | n |\n| --- | ---: |\n| a | 2 |\n\n"
        "<!-- x: end -->\nafter\n"
    )


def test_a_text_without_markers_is_left_alone() -> None:
    with pytest.raises(BenchError, match="no markers <!-- y: begin -->"):
        with_section("nothing", "y", "content")


def test_the_machine_is_described() -> None:
    said = describe_machine("h2load 1")

    assert "cores of" in said
    assert "grpcio " in said
    assert said.endswith("h2load 1")
