"""Kills a writer, damages its files, and prints what each engine still has and how it says so."""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engines import ENGINES, Maintenance

SUBJECTS = {
    "sqlite-normal": (".sqlite-wal", ".sqlite"),
    "lmdb-nosync": ("data.mdb",),
}
"""Engines, and the ends of the names of the files that hold their data."""
_PAYLOAD_BYTES = 150


def write_until_killed(name: str, folder: Path) -> None:
    """Append for ever, printing every number once it is acknowledged."""
    engine = ENGINES[name](folder)
    Maintenance(engine, 0.02)
    while True:
        content = random.randbytes(_PAYLOAD_BYTES)
        number = engine.append(content + zlib.crc32(content).to_bytes(4, "big"))
        os.write(1, b"%d\n" % number)


def read_all(name: str, folder: Path) -> None:
    """Print how many records are readable, and whether they are gap-free and as written."""
    engine = ENGINES[name](folder)
    records = engine.read_range(1, 10_000_000)
    changed = sum(zlib.crc32(r[:-4]) != int.from_bytes(r[-4:], "big") for r in records)
    is_sound = engine.append(bytes(4)) == len(records) + 1
    print(len(records), f"{changed} changed" if changed else "sound" if is_sound else "gaps")
    engine.close()


@dataclass(frozen=True)
class Outcome:
    """What a reader made of a folder."""

    words: str
    records: int


def reopen(name: str, folder: Path) -> Outcome:
    """Read a folder in a process of its own: an engine may take its process down."""
    command = [sys.executable, __file__, "--read", name, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode < 0:
        return Outcome(f"process died: {signal.Signals(-done.returncode).name}", 0)
    if done.returncode:
        return Outcome(done.stderr.strip().splitlines()[-1][:60], 0)
    count, words = done.stdout.strip().split(maxsplit=1)
    return Outcome(words, int(count))


def write_and_kill(name: str, folder: Path, lines: int) -> int:
    """Kill a writer after it acknowledged some records; return the last it acknowledged."""
    command = [sys.executable, __file__, "--write", name, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        output = writer.stdout
        if output is None:
            raise RuntimeError("the writer has no output")
        for _ in range(lines):
            output.readline()
        writer.send_signal(signal.SIGKILL)
        rest = output.read().split(b"\n")
    complete = rest[:-1]
    return int(complete[-1]) if complete else lines


def kill_rounds(name: str, rounds: int) -> str:
    """Kill at random moments; count acknowledged records that are gone."""
    lost = 0
    acknowledged = 0
    for seed in range(rounds):
        lines = random.Random(seed).randrange(50, 20_000)
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as text:
            last = write_and_kill(name, Path(text), lines)
            outcome = reopen(name, Path(text))
        acknowledged += last
        lost += max(0, last - outcome.records)
        if outcome.words != "sound":
            return f"{outcome.words} after kill {seed}"
    return f"{rounds} kills, {acknowledged:,} acknowledged, {lost} lost"


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0xFF]))


def _zero_block(path: Path, at: int) -> None:
    """Put zeros where a 4 KiB block was: what a power loss leaves of a page never written."""
    with path.open("r+b") as file:
        file.seek(at - at % 4096)
        file.write(bytes(4096))


DAMAGES: dict[str, Callable[[Path, int], None]] = {
    "one byte changed": _flip,
    "one block zero": _zero_block,
    "cut short": os.truncate,
}
PLACES = {"middle": (0.3, 0.7), "tail": (0.97, 1.0)}


def damage_rounds(name: str, suffix: str, fault: tuple[str, str], rounds: int) -> str:
    """Damage one file of a killed writer at random places; count the outcomes."""
    damage, place = fault
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as text:
        source = Path(text) / "source"
        source.mkdir()
        last = write_and_kill(name, source, 5_000)
        if suffix == ".sqlite":
            # Opening and closing moves the write-ahead log into the database.
            reopen(name, source)
        for seed in range(rounds):
            folder = Path(text) / f"copy-{seed}"
            shutil.copytree(source, folder)
            path = next(one for one in folder.rglob("*") if one.name.endswith(suffix))
            share = random.Random(seed).uniform(*PLACES[place])
            DAMAGES[damage](path, int((path.stat().st_size - 1) * share))
            seen[_classify(reopen(name, folder), last)] += 1
            shutil.rmtree(folder)
    return "; ".join(f"{words}: {count}" for words, count in seen.most_common())


def _classify(outcome: Outcome, last: int) -> str:
    if outcome.words.endswith("changed"):
        return "changed records, silently"
    if outcome.words != "sound":
        return outcome.words
    return "all read" if outcome.records >= last else "a sound prefix, silently"


def main() -> None:
    """Print one line per engine and fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_until_killed(options.write[0], Path(options.write[1]))
    elif options.read:
        read_all(options.read[0], Path(options.read[1]))
    else:
        print("| engine | fault | outcome |\n|---|---|---|")
        for name, suffixes in SUBJECTS.items():
            print(f"| {name} | kill -9 | {kill_rounds(name, options.rounds)} |", flush=True)
            for suffix, damage, place in itertools.product(suffixes, DAMAGES, PLACES):
                outcome = damage_rounds(name, suffix, (damage, place), options.rounds)
                print(f"| {name} | {suffix}, {place}: {damage} | {outcome} |", flush=True)


if __name__ == "__main__":
    main()
