"""Files read in chunks say what they say line by line: examples, bad lines, and their numbers."""

from __future__ import annotations

import gzip
import io
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer

from app.cli import chunks
from app.cli.bulk import Decoder, offline_limits
from app.cli.chunks import in_background, in_order, read_chunks
from app.cli.csv_reader import CsvColumns
from app.cli.examples import VW_BODY_WITH_IDS, BadLines, Format
from app.cli.failures import CommandFailed
from app.cli.formats import Sources
from app.ingest import decode_ndjson
from app.ingest.vw import decode_vw
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, TooLarge
from tests.oracle import json_text, vw_lines
from tests.oracle.slow_ingest import Outcome, outcome

SEED = 7
COLUMNS = CsvColumns(id="id", numeric=("n",), ignore=("skipped",))
Said = tuple[Outcome, list[str]]


class Rejected(BadLines):
    """Keeps what is rejected, in order."""

    def __init__(self) -> None:
        super().__init__(skip=True)
        self.said: list[str] = []

    def reject(self, place: str, reason: str) -> None:
        self.said.append(f"{place}: {reason}")


def sources(path: Path, rejected: BadLines) -> Sources:
    columns = CsvColumns(id="tag") if path.name.startswith("f.vw") else COLUMNS
    return Sources([str(path)], None, columns, True, rejected)


def in_chunks(path: Path) -> Said:
    rejected = Rejected()
    batches = list(sources(path, rejected).batches(Decoder(SEED, offline_limits())))
    whole = ExampleBatch.concatenate(batches) if batches else None
    return outcome(lambda _: whole, b"") if whole is not None else (), rejected.said


def by_line(path: Path) -> Said:
    """Each line alone, by the readers of `learn` and the service's decoder."""
    rejected = Rejected()
    batches = []
    numbered: list[tuple[int, str]] = []
    reader = sources(path, rejected)
    for example in reader.examples():
        try:
            if example.kind == VW_BODY_WITH_IDS:
                batches.append(decode_vw(example.body, offline_limits(), SEED, True, True))
            else:
                batches.append(decode_ndjson(example.body, offline_limits(), SEED))
        except (BadBody, BadExample, TooLarge) as error:
            reason = str(error) if isinstance(error, BadBody) else error.detail
            numbered.append((example.line, f"{example.place}: {reason}"))
    number = re.compile(r": line (\d+): ")
    for text in rejected.said:
        found = number.search(text)
        assert found is not None
        numbered.append((int(found[1]), text))
    whole = ExampleBatch.concatenate(batches) if batches else None
    said = [text for _, text in sorted(numbered)]
    return outcome(lambda _: whole, b"") if whole is not None else (), said


def vw_line(choose: random.Random) -> bytes:
    return vw_lines.line(choose).encode()


def ndjson_line(choose: random.Random) -> bytes:
    kind = choose.randrange(12)
    if kind == 0:
        return choose.choice([b"", b" ", b"\r", b"\x0b", b"[]", b"nonsense", b'{"label":1}'])
    if kind == 1:
        return b'{"label":7,"features":{}}'
    features = json_text.features(choose, 4).replace("\n", " ")
    if kind == 2:
        features = features[:-1] + choose.choice(['"a":[[]]}', '"a":{"b":1}}', "\udc80}"])
    extra = choose.choice(["", "", ',"weight":2.5', ',"id":"x1"', ',"id":""', ',"other":1'])
    text = f'{{"label":{choose.randrange(2)},"features":{features}{extra}}}'
    return text.encode(errors="surrogateescape")


def mostly(choose: random.Random, usual: list[str], unusual: list[str]) -> str:
    return choose.choice(unusual if choose.random() < 0.1 else usual)


def csv_cell(choose: random.Random, quotes: bool) -> str:
    quoted = ['a"b', '"a,b"', '"two\nlines"', '"he said ""x"""', '"', '"a"b']
    usual = ["", "a9", "x y", "é日", "7", "0.5", "\t"]
    return mostly(choose, usual, quoted if quotes else ["v" * 1030])


def csv_line(choose: random.Random, quotes: bool) -> bytes:
    if choose.random() < 0.05:
        return choose.choice([b"", b"\r", b"1", b"1,2", b"1,2,3,4,5,6,7", b"a\rb,1", b"\xff" * 3])
    number = choose.choice([json_text.number(choose), "", " 1", "1_0", "nan", "1e9", "x", "-.5"])
    cells = [
        csv_cell(choose, quotes),
        mostly(choose, ["0", "1"], ["1.0", " 0", "0.0", "2", "", "x"]),
        number if choose.random() < 0.4 else "2.5",
        mostly(choose, ["", "i1", "i2"], ["x" * 129, "\x7f"]),
        csv_cell(choose, quotes),
        "skipped",
    ]
    data = (",".join(cells) + ("\r" if choose.random() < 0.2 else "")).encode()
    return data.replace(b"x y", b"\xfe") if choose.random() < 0.02 else data


Line = Callable[[random.Random], bytes]


@pytest.mark.parametrize(
    ("name", "head", "line"),
    [
        ("f.vw", b"", vw_line),
        ("f.ndjson", b"", ndjson_line),
        ("f.csv", b"a,label,n,id,b,skipped\n", lambda c: csv_line(c, False)),
        ("f.csv", b"\xef\xbb\xbfa,label,n,id,b,skipped\r\n", lambda c: csv_line(c, True)),
        ("f.csv.gz", b'"a",label,n,id,"b",skipped\n', lambda c: csv_line(c, True)),
        ("f.vw.gz", b"", vw_line),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 50, 3000, 1 << 20])
def test_any_file_in_any_chunks(
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    head: bytes,
    line: Line,
    chunk_bytes: int,
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
    choose = random.Random(f"{seed} {name} {chunk_bytes}")
    path = tmp_path / name
    for _ in range(6):
        text = head + b"\n".join(line(choose) for _ in range(60)) + choose.choice([b"", b"\n"])
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        fast, slow = in_chunks(path), by_line(path)
        assert fast[1] == slow[1]
        assert fast[0] == slow[0]


def test_a_good_file_has_no_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,label,n,id,b,skipped\n" + "x,1,2,,y,z\n" * 3)
    said, bad = in_chunks(path)
    assert (len(said), bad) == (7, [])


def cut(text: bytes) -> list[bytes]:
    raw = io.BufferedReader(io.BytesIO(text))
    return [bytes(chunk) for chunk in read_chunks(raw)]  # type: ignore[arg-type]


def test_chunks_end_where_lines_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4)
    assert cut(b"a\nb\nlonger\nc") == [b"a\nb\n", b"longer\n", b"c"]
    assert cut(b"") == []
    monkeypatch.setattr(chunks, "LINE_BYTES_MAX", 7)
    assert b"".join(cut(b"123456\n123456\n1234567")) == b"123456\n123456\n1234567"
    for text in (b"1234567\n", b"12345678", b"a\n1234567\nb\n"):
        with pytest.raises(OSError, match="a line is longer than 7 bytes"):
            cut(text)


def test_a_failure_in_the_reading_thread_is_raised_here(tmp_path: Path) -> None:
    path = tmp_path / "f.vw.gz"
    path.write_bytes(gzip.compress(b"1 |a x\n" * 1000)[:-10])
    with pytest.raises(CommandFailed, match=r"cannot read .*f\.vw\.gz"):
        list(sources(path, Rejected()).batches(Decoder(SEED, offline_limits())))


def test_an_endless_file_can_be_left() -> None:
    def endless() -> Iterator[bytearray]:
        while True:
            yield bytearray(b"1 |a x\n")

    read = in_background(endless())
    assert next(read) == b"1 |a x\n"
    read.close()  # type: ignore[attr-defined]


def test_order_is_kept() -> None:

    with ThreadPoolExecutor(3) as pool:
        assert list(in_order(lambda i: i * i, iter(range(50)), pool, 2)) == [
            i * i for i in range(50)
        ]


def test_the_first_bad_line_ends_the_command(tmp_path: Path) -> None:
    path = tmp_path / "f.vw"
    path.write_bytes(b"1 |a x\n\n1 |a \xff\n2 |a x\n")
    with pytest.raises(CommandFailed, match=r"f\.vw: line 3: not UTF-8"):
        list(sources(path, BadLines(skip=False)).batches(Decoder(SEED, offline_limits())))


def test_vw_takes_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "f.vw"
    path.write_bytes(b"1 |a x\n")
    with pytest.raises(typer.BadParameter):
        Sources([str(path)], Format.VW, CsvColumns(id="a"), True, BadLines(False))
