"""Read single members of a zip by where they lie in it; nothing is extracted, and no list of names stays in memory."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

STORED, DEFLATED, ENCRYPTED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 0x1


class Member(NamedTuple):
    """Where a member lies and what it must come to.

    Attributes:
        offset: of its local header, in bytes from the zip's beginning.
        method: 0 as it is, 8 deflated.
        packed: bytes in the zip.
        size: bytes unpacked.
        crc: CRC-32 of the unpacked bytes.
    """

    offset: int
    method: int
    packed: int
    size: int
    crc: int


def zip_members(path: str | Path) -> Iterator[tuple[str, Member]]:
    """Yield the name, as it stands in the zip, and the place of each file.

    Raises:
        ValueError: it isn't a whole zip.
    """
    end = Path(path).stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and not info.flag_bits & ENCRYPTED:
                    place = info.header_offset, info.compress_type, info.compress_size, info.file_size, info.CRC
                    # Where the beginning of a zip is lost, members lie before its first byte.
                    if not 0 <= info.header_offset < end or info.compress_size > end or info.file_size >= 2**63:
                        raise zipfile.BadZipFile(f"{info.filename[:80]!a} lies outside of it")
                    yield info.filename, Member(*place)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a whole zip ({error}); download it again.") from error


def read_member(file: BinaryIO, member: Member, limit: int) -> bytes:
    """Return the bytes of a member, never more than it declares.

    Args:
        file: the zip, open for reading.
        limit: refuse a member that declares more bytes than this.

    Raises:
        ValueError: it is larger, damaged, or packed in a way that this doesn't know.
    """
    declared = max(member.size, member.packed)
    if declared > limit:
        raise ValueError(f"declares {declared:,} bytes, over the limit of {limit:,}")
    file.seek(member.offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise ValueError("is not where the zip says")
    # The local header repeats the name and has its own extra field, of another length than the directory's.
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    packed = file.read(member.packed)
    if member.method == STORED:
        data = packed
    elif member.method == DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
        except zlib.error:
            data = b""
    else:
        raise ValueError(f"is packed by method {member.method}, which this doesn't know")
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise ValueError("is damaged in the zip")
    return data
