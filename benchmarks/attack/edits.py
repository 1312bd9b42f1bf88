"""Edits of valid files: of their bytes, of the values in them, of the numbers that they state."""

import copy
import json
import random
import re
import struct
import zlib
from typing import Any

HOSTILE = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"9" * 400,
    b"\xe2\x80\xa8", b"\\ud800", b"../../x", b"&a [*a,*a]", b"\r", b'"', b"[" * 3000, b"\x1b[2J", b"\xe9",
)  # fmt: skip
TEXTS = (
    "-1", "0", "1e999", "-1e999", "NaN", "nan", "inf", "", "null", "true", "abc", "9" * 400, "2147483648",
    "9223372036854775808", "1000000000000", "1e308", "-0.5", "../../x", "/etc/passwd", "a\u2028b", "a\x85b", "a\x0cb",
    "\x1b[31mred", "{", "[", "<", "&x;", "*", "?", "x" * 5000, "\u00e9", "\U0001f600",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**12, -(10**12), 10**400, 0.5, -0.5, 1e308, float("nan"),
    float("inf"), "", "abc", "0", "\0", "../../x", "\x1b[31m", "x" * 100_000, [], [[]], [1], [0, 0], [-1, 2],
    [1, 2, 3, 4, 5], [None], ["a"], {}, {"a": 1}, {"": None}, [0] * 100_000,
)  # fmt: skip
TOKEN = re.compile(rb"[-+\w.]+")


def edited_bytes(content: bytes, rng: random.Random, most: int = 4) -> bytes:
    """One to `most` edits: flipped bits, a cut, bytes that are inserted, replaced or doubled."""
    for _ in range(rng.randint(1, most)):
        at, length = rng.randrange(len(content) + 1), rng.randint(1, 64)
        text = rng.choice((rng.choice(HOSTILE), rng.randbytes(rng.randint(0, 16))))
        kind = rng.choice(("flip", "flip", "cut", "insert", "replace", "double"))
        if kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ rng.randint(1, 255)]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + text + content[at:]
        elif kind == "replace":
            content = content[:at] + text + content[at + length :]
        else:
            content = content[:at] + content[at : at + length] + content[at:]
    return content


def flipped(content: bytes, rng: random.Random, most: int = 4) -> bytes:
    """One to `most` bytes changed, half of them in the first or last kilobyte, where containers have their tables."""
    edited = bytearray(content)
    for _ in range(rng.randint(1, most)):
        place = rng.randrange(len(edited))
        if rng.random() < 0.5:
            place = rng.choice((min(place, 1023) % len(edited), len(edited) - 1 - min(place, 1023) % len(edited)))
        edited[place] ^= rng.randint(1, 255)
    return bytes(edited)


def edited_numbers(content: bytes, rng: random.Random) -> bytes:
    """One to three words or numbers of a text replaced, such as a size, a class or a name."""
    for _ in range(rng.randint(1, 3)):
        places = list(TOKEN.finditer(content))
        if not places:
            return content
        place = rng.choice(places)
        content = content[: place.start()] + rng.choice(TEXTS).encode() + content[place.end() :]
    return content


def edited_json(content: bytes, rng: random.Random) -> bytes:
    """One or two values of a JSON text replaced, deleted, wrapped in a list, or nested too deeply."""
    document = {"": json.loads(content)}
    for _ in range(rng.randint(1, 2)):
        parent, key = rng.choice(list(_places(document)))
        kind = rng.random()
        if kind < 0.1 and parent is not document:
            del parent[key]
        elif kind < 0.2:
            parent[key] = [parent[key]]
        elif kind < 0.22:
            return json.dumps(document[""]).encode()[:-1] + b',"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        else:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(document[""]).encode()


def _places(value: Any) -> Any:
    """(container, key) of every value inside, at any depth."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def edited_file(name: str, content: bytes, rng: random.Random) -> bytes:
    """An edit that suits the kind of file: of values in JSON, of words in texts, of bytes in all."""
    kind = rng.random()
    is_text = name.lower().endswith((".json", ".jsonl", ".csv", ".tsv", ".txt", ".xml", ".yaml", ".yml"))
    if name.endswith(".json") and kind < 0.6:
        return edited_json(content, rng)
    if is_text and kind < 0.8:
        return edited_numbers(content, rng)
    return edited_bytes(content, rng)


def with_checksums(png: bytes) -> bytes:
    """A PNG with the checksums of its chunks as they should be, so that an edit gets past them."""
    parts, at = [png[:8]], 8
    while at + 12 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if at + 12 + length > len(png):
            break
        body = png[at + 4 : at + 8 + length]
        parts.append(png[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join([*parts, png[at:]])
