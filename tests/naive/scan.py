"""Twins of the kernels that go over bytes."""

import re

NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
MASK = (1 << 64) - 1


def parse_number(text):
    """Length and value of the JSON number at the start of a text, None when there is none."""
    found = NUMBER.match(text)
    if found is None:
        return None
    whole = found.group(2) is None and found.group(3) is None
    return found.end(), float(int(found.group())) if whole else float(found.group())


def hash_bytes(text):
    return seeded(text, 0x2D358DCCAA6C78A5)


def hash_id(salt, text):
    """Key and check of an id; 0, 0 for an empty one."""
    seeds = [hash_bytes(f"{what}\0{salt}".encode()) for what in ("key", "check")]
    data = text.encode()
    return (seeded(data, seeds[0]) or 1, seeded(data, seeds[1]) >> 32) if data else (0, 0)


def seeded(text, seed):
    def fold(a, b):
        return (a * b & MASK) ^ (a * b >> 64)

    state = seed ^ (len(text) * 0x8BB84B93962EACC9 & MASK)
    whole = len(text) // 8 * 8
    for at in range(0, whole, 8):
        word = int.from_bytes(text[at : at + 8], "little")
        state = fold(state ^ word, 0x4B33A62ED433D4A3)
    if whole < len(text):
        state = fold(state ^ int.from_bytes(text[whole:], "little"), 0x4D5A2DA51DE1AA47)
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def read_varint(data, at):
    number = 0
    for place in range(10):
        byte = data[at + place]
        number |= (byte & 127) << 7 * place
        if byte < 128:
            number &= MASK
            return at + place + 1, (number >> 1) ^ -(number & 1)
    raise ValueError("a number of more than ten bytes")


def walk_records(data, offset, stamp, append_stamp, count):
    """Rows of offset, stamp, value start and length, key start and length; raises on broken."""
    rows, at = [], 0

    def span(at, *, null=True):
        at, length = read_varint(data, at)
        if length < (-1 if null else 0) or at + length > len(data):
            raise ValueError("bytes that leave the data")
        return at, max(length, 0)

    for _ in range(count):
        at, size = span(at, null=False)
        end = at + size
        at, later = read_varint(data, at + 1)
        at, further = read_varint(data, at)
        key, key_length = span(at)
        value, value_length = span(key + key_length)
        at, headers = read_varint(data, value + value_length)
        if headers < 0:
            raise ValueError("fewer headers than none")
        for _ in range(headers):
            at, length = span(at, null=False)
            at, length = span(at + length)
            at += length
        if at != end:
            raise ValueError("a record of another size")
        time = append_stamp if append_stamp >= 0 else stamp + later
        rows.append((offset + further, time, value, value_length, key, key_length))
    if at != len(data):
        raise ValueError("something after the last record")
    return rows
