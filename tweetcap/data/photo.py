"""Turn whatever a user calls a photo into pixels: a path, bytes, a PIL image, an array or a tensor.

Files are untrusted. They are known by their first bytes, measured from their headers before anything is
decoded, and decoded by torchvision (libjpeg-turbo, libpng, libwebp, giflib), or by simplejpeg (libjpeg-turbo) where
a JPEG may come smaller; never by Pillow. Where torchvision 0.29 cannot take a file as it stands (it crashes on a
damaged PNG, decodes every frame of a GIF and refuses an animated WEBP), the file is first rewritten here as a plain
one. Colour profiles are ignored: every photo is read as sRGB.
"""

import importlib.util
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch

MAX_PIXELS = 25_000_000
MAX_BYTES = 20 * 2**20
MIN_SIDE = 16
# For listing a folder. What a file is, its content decides.
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")

# A progressive JPEG repaints all its pixels in every scan. Encoders write about ten; thousands are an attack.
MAX_JPEG_SCANS = 64


class PhotoError(ValueError):
    """The photo can't be used; the message is one sentence that names it and says what to do."""


class _DamagedError(Exception):
    """A parser met a file that contradicts itself or ends too early."""


def load_photo(photo, least_side: int | None = None) -> torch.Tensor:
    """Return the photo upright, in RGB, on the CPU.

    Args:
        least_side: a JPEG of twice this or more may come smaller, no side below this, in a fraction of the time and
            memory; all others come in full.
        photo: path (str or Path) or bytes of a JPEG, PNG, WEBP or GIF, of which the first frame is taken;
            PIL image; array (height, width), or (height, width, 1, 3 or 4); tensor (height, width), or
            (1, 3 or 4, height, width). Numbers are uint8, uint16 or floats in 0..1.

    Returns:
        uint8 (3, height, width). What was transparent is white. Where a tensor was given, the result may
        share its memory.

    Raises:
        PhotoError: if it isn't a photo of at least 16 × 16 and at most 25 million pixels, and 20 MB.
    """
    if isinstance(photo, (str, os.PathLike)):
        return _decode(_read(photo), _shorten(os.fspath(photo)), least_side)
    if isinstance(photo, (bytes, bytearray, memoryview)):
        return _decode(bytes(photo), "The photo in the given bytes", least_side)
    if isinstance(photo, np.ndarray):
        return _from_array(photo)
    if isinstance(photo, torch.Tensor):
        return _from_tensor(photo.detach().cpu(), "The given tensor")
    pillow = sys.modules.get("PIL.Image")  # whoever holds a PIL image has imported PIL
    if pillow is not None and isinstance(photo, pillow.Image):
        return _from_pillow(photo)
    kind = type(photo).__name__
    raise PhotoError(f"A photo can't be a {kind}: give a path, bytes, a PIL image, an array or a tensor.")


def _shorten(path: str | bytes) -> str:
    """Return the path as it can be printed, whatever its length and bytes."""
    name = os.fsdecode(path).encode(errors="replace").decode()
    return name if len(name) <= 200 else f"{name[:80]}…{name[-80:]}"


def _check_size(width: int, height: int, name: str) -> None:
    size = f"{name} has {width} × {height} pixels"
    if width * height > MAX_PIXELS:
        raise PhotoError(f"{size}, over the limit of {MAX_PIXELS // 10**6} million: make it smaller.")
    if min(width, height) < MIN_SIDE:
        raise PhotoError(f"{size}, too few to see an animal: give at least {MIN_SIDE} × {MIN_SIDE}.")


def _read(path: str | os.PathLike) -> bytes:
    name = _shorten(os.fspath(path))
    if name.lower().startswith(("http:/", "https:/", "file:/", "data:image/")):
        raise PhotoError(f"{name} is an address, not a file: download the photo and give its path.")
    try:
        status = os.stat(path)
        regular = stat.S_ISREG(status.st_mode)  # a pipe or a device could go on for ever
        data = b""
        if regular and status.st_size <= MAX_BYTES:
            with open(path, "rb") as file:
                data = file.read()
    except FileNotFoundError:
        raise PhotoError(f"{name} does not exist: check the path.") from None
    except OSError as error:
        raise PhotoError(f"{name} can't be read ({error.strerror}): check the path and its rights.") from None
    except ValueError:
        raise PhotoError(f"{name!r} holds characters that no file name can: check the path.") from None
    if stat.S_ISDIR(status.st_mode):
        raise PhotoError(f"{name} is a folder: give the path of one photo.")
    if not regular:
        raise PhotoError(f"{name} is not a regular file: give the path of a photo.")
    if status.st_size > MAX_BYTES:
        raise _too_heavy(name, status.st_size)
    return data


def _too_heavy(name: str, size: int) -> PhotoError:
    limit = MAX_BYTES // 2**20
    return PhotoError(f"{name} has {size / 2**20:.1f} MB, over the limit of {limit} MB: save it smaller.")


# --- Files ----------------------------------------------------------------------------------------


def _decode(data: bytes, name: str, least_side: int | None) -> torch.Tensor:
    """Decode a whole file: bytes → uint8 (3, height, width)."""
    if len(data) > MAX_BYTES:
        raise _too_heavy(name, len(data))
    if not data:
        raise PhotoError(f"{name} is empty: give a JPEG, PNG, WEBP or GIF.")
    decode = _decoder(data, least_side)
    if decode is None:
        kind = _foreign_format(data)
        what = f"is {kind}" if kind else "is not a photo in a known format"
        raise PhotoError(f"{name} {what}: convert it to JPEG, PNG, WEBP or GIF.")
    try:
        return decode(data, name).contiguous()  # some decoders hand out a view of (height, width, 3)
    except (_DamagedError, IndexError, struct.error, zlib.error):
        raise PhotoError(f"{name} is damaged or cut short: download or export it again.") from None


def _decoder(data: bytes, least_side: int | None) -> Callable[[bytes, str], torch.Tensor] | None:
    if data.startswith(b"\xff\xd8\xff"):
        return partial(_decode_jpeg, least_side=least_side)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _decode_png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _decode_webp
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _decode_gif
    return None


FOREIGN_FORMATS = (
    (b"%PDF", "a PDF document"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF or raw camera image"),
    (b"MM\0*", "a TIFF or raw camera image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop document"),
    (b"PK\3\4", "an archive or office document"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"RIFF", "a video or sound"),
)


def _foreign_format(data: bytes) -> str | None:
    """Return what the file is, for the message, if it is something that people do take for a photo."""
    if data[4:8] == b"ftyp":
        brands = data[8:40]
        if b"avif" in brands or b"avis" in brands:
            return "an AVIF image"
        if any(brand in brands for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")):
            return "a HEIC image"
        return "a video"
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<"):
        if b"<svg" in start:
            return "an SVG drawing"
        return "an HTML page" if b"html" in start else "an XML document"
    return next((kind for magic, kind in FOREIGN_FORMATS if data.startswith(magic)), None)


# torchvision's ImageReadMode
UNCHANGED, RGB, RGB_ALPHA = 0, 3, 4


@cache
def _torchvision():
    """Return torchvision's decoders, without importing the package: its networks take longer than a photo's tweets."""
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    torch.ops.load_library(next(folder.glob("image_stable.*")))
    return torch.ops.image


def _run(decode: Callable[..., torch.Tensor], data: bytes | bytearray, *mode) -> torch.Tensor:
    """Decode with one of torchvision's functions, which say of any damage that it is a RuntimeError."""
    # A copy of what is read-only, since torch warns of memory that it may not write.
    buffer = data if isinstance(data, bytearray) else bytearray(data)
    try:
        return decode(torch.frombuffer(buffer, dtype=torch.uint8), *mode)
    except RuntimeError:
        raise _DamagedError from None


# JPEG


def _decode_jpeg(data: bytes, name: str, least_side: int | None) -> torch.Tensor:
    size = None
    orientation = 1
    components = 0
    for marker, payload in _jpeg_segments(data):
        if marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            orientation = _orientation(payload)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF, but not DHT, JPG, DAC
            *size, components = struct.unpack_from(">HHB", payload, 1)  # height, width
            break
    if size is None:
        raise _DamagedError
    _check_size(size[1], size[0], name)
    # Inside compressed data 0xFF is always stuffed, so this counts scans (and a thumbnail's one or two).
    if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise PhotoError(f"{name} is a JPEG of more than {MAX_JPEG_SCANS} scans: save it as a baseline JPEG.")
    if least_side and components != 4 and min(size) >= 2 * least_side:
        try:
            # libjpeg makes 4 × 4 pixels or fewer of a block of 8 × 8, out of its lower frequencies alone.
            pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least_side, min_width=least_side)
            return _upright(torch.from_numpy(pixels).permute(2, 0, 1), orientation)
        except ValueError:
            pass  # damaged or unusual: the other decoder has the last word
    # CMYK and YCCK, inverted by Adobe or not, come out as RGB. A JPEG without its end is refused.
    return _upright(_run(_torchvision().decode_jpeg, data, RGB, False), orientation)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, payload) up to the first scan.

    Skips what libjpeg skips, so that no file has one size here and another one there.
    """
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise _DamagedError
        while data[position : position + 1] == b"\xff":
            position += 1
        if position >= len(data):
            raise _DamagedError
        marker = data[position]
        position += 1
        if marker in (0xD9, 0xDA):  # end of image, start of scan
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:  # no marker; markers without payload
            continue
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, data[position + 2 : position + length]
        position += max(length, 2)


# PNG

PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey + alpha, RGBA
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _decode_png(data: bytes, name: str) -> torch.Tensor:
    """Check and rewrite the PNG, then decode it.

    torchvision 0.29 crashes the process where libpng finds an error among the pixels, so libpng gets a file
    in which there is none left to find: verified pixels, stored uncompressed, and no chunk that isn't needed.
    A palette is always given an alpha for each colour, without which torchvision garbles it as RGBA.
    """
    chunks = {}
    compressed = []
    for kind, payload in _png_chunks(data):
        if kind == b"IDAT":
            compressed.append(payload)
        else:
            chunks.setdefault(kind, payload)
    header = chunks.get(b"IHDR", b"")
    width, height, depth, colour, method, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if depth not in PNG_DEPTHS.get(colour, ()) or method or filtering or interlace > 1:
        raise _DamagedError
    _check_size(width, height, name)

    transparency = chunks.get(b"tRNS", b"")
    clean = bytearray(b"\x89PNG\r\n\x1a\n") + _png_chunk(b"IHDR", header)
    if colour == 3:
        if not chunks.get(b"PLTE"):
            raise _DamagedError
        colours = 2**depth
        clean += _png_chunk(b"PLTE", chunks[b"PLTE"][: 3 * colours].ljust(3 * colours, b"\0"))
        clean += _png_chunk(b"tRNS", transparency[:colours].ljust(colours, b"\xff"))
    bits = depth * PNG_CHANNELS[colour]
    rows = _inflate_rows(b"".join(compressed), list(_png_passes(width, height, bits, interlace)))
    clean += _png_chunk(b"IDAT", zlib.compress(rows, 0)) + _png_chunk(b"IEND", b"")

    photo = _run(_torchvision().decode_png, clean, RGB if colour in (0, 2) else RGB_ALPHA, False)
    pixels = _on_white(_to_8_bits(photo))
    if colour in (0, 2) and len(transparency) == (2 if colour == 0 else 6):
        levels = struct.unpack(f">{len(transparency) // 2}H", transparency)
        pixels = pixels.masked_fill(_transparent_colour(photo, levels, depth), 255)
    return _upright(pixels, _orientation(chunks.get(b"eXIf", b"")))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, payload) of the chunks that matter, checksums verified, up to the end of the file."""
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if position == 8 and kind != b"IHDR":
            raise _DamagedError
        if kind == b"IEND":
            return
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf"):
            payload = data[position + 8 : position + 8 + length]
            (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
            if zlib.crc32(payload, zlib.crc32(kind)) != checksum:
                raise _DamagedError
            yield kind, payload
        position += 12 + length


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", checksum)


def _png_passes(width: int, height: int, bits: int, interlace: int) -> Iterator[tuple[int, int]]:
    """Yield (rows, bytes in a row with its filter byte) of each pass that isn't empty."""
    for left, top, step_x, step_y in ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            yield rows, 1 + (columns * bits + 7) // 8


def _inflate_rows(compressed: bytes, passes: list[tuple[int, int]]) -> bytes:
    """Return exactly the bytes of all passes; never inflates more than those."""
    total = sum(rows * size for rows, size in passes)
    inflated = zlib.decompressobj().decompress(compressed, total)
    if len(inflated) < total:
        raise _DamagedError
    start = 0
    for rows, size in passes:
        filters = np.frombuffer(inflated, np.uint8, rows * size, start)[::size]
        if filters.max() > 4:
            raise _DamagedError
        start += rows * size
    return inflated


def _transparent_colour(photo: torch.Tensor, colour: tuple[int, ...], depth: int) -> torch.Tensor:
    """Return where the photo has the one colour that its PNG declares transparent: bool (height, width)."""
    scale = 255 // (2**depth - 1) if depth < 8 else 1  # libpng has scaled fewer than 8 bits up to 8
    levels = torch.tensor([level % 2**depth * scale for level in colour]).reshape(-1, 1, 1)
    return (photo.int() == levels).all(dim=0)


# WEBP


def _decode_webp(data: bytes, name: str) -> torch.Tensor:
    chunks = _riff_chunks(data[12:])
    kind, payload = next(chunks, (b"", b""))
    if kind != b"VP8X":
        _check_size(*_webp_size(kind, payload), name)
        return _on_white(_run(_torchvision().decode_webp, data, UNCHANGED))

    flags = payload[0] if payload else 0
    canvas = _int24(payload, 4) + 1, _int24(payload, 7) + 1  # (width, height)
    _check_size(*canvas, name)
    rest = list(chunks)
    orientation = _orientation(next((body for kind, body in rest if kind == b"EXIF"), b""))
    if not flags & 0x02:  # a still
        return _upright(_on_white(_run(_torchvision().decode_webp, data, UNCHANGED)), orientation)
    frame = next((body for kind, body in rest if kind == b"ANMF"), b"")
    left, top = 2 * _int24(frame, 0), 2 * _int24(frame, 3)
    width, height = _int24(frame, 6) + 1, _int24(frame, 9) + 1
    _check_size(width, height, name)
    if left + width > canvas[0] or top + height > canvas[1]:
        raise _DamagedError
    still = b"WEBP" + _riff_chunk(b"VP8X", b"\x10\0\0\0" + frame[6:12]) + frame[16:]
    pixels = _run(_torchvision().decode_webp, _riff_chunk(b"RIFF", still), UNCHANGED)
    return _upright(_paste(_on_white(pixels), canvas, left, top), orientation)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _riff_chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)


def _webp_size(kind: bytes, payload: bytes) -> tuple[int, int]:
    """Return (width, height) from the head of a lossy or lossless bitstream."""
    if kind == b"VP8 " and payload[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", payload, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and payload[:1] == b"\x2f":
        (bits,) = struct.unpack_from("<I", payload, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise _DamagedError


def _int24(data: bytes, position: int) -> int:
    if len(data) < position + 3:
        raise _DamagedError
    return int.from_bytes(data[position : position + 3], "little")


# GIF


def _decode_gif(data: bytes, name: str) -> torch.Tensor:
    """Decode the first frame, rewritten as a GIF of its own: torchvision would decode every frame."""
    screen_width, screen_height, flags = struct.unpack_from("<HHB", data, 6)
    palette, position = _gif_palette(data, 13, flags)
    transparent = None
    while (block := data[position : position + 1]) == b"!":  # extensions
        if data[position + 1 : position + 3] == b"\xf9\x04" and data[position + 3] & 1:
            transparent = data[position + 6]
        position = _gif_skip(data, position + 2)
    if block != b",":
        raise _DamagedError
    left, top, width, height, flags = struct.unpack_from("<HHHHB", data, position + 1)
    canvas = screen_width or left + width, screen_height or top + height
    _check_size(*canvas, name)
    _check_size(width, height, name)
    own_palette, position = _gif_palette(data, position + 10, flags)
    palette = own_palette or palette
    end = _gif_skip(data, position + 1)
    if not palette:
        raise _DamagedError
    colours = bytearray(palette.ljust(768, b"\0"))
    if transparent is not None:
        colours[3 * transparent : 3 * transparent + 3] = b"\xff\xff\xff"
    still = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + colours
    interlaced = flags & 0x40
    still += b"," + struct.pack("<HHHHB", 0, 0, width, height, interlaced) + data[position:end] + b";"
    return _paste(_run(_torchvision().decode_gif, still), canvas, left, top)


def _gif_palette(data: bytes, position: int, flags: int) -> tuple[bytes, int]:
    """Return the palette that starts here (empty if there is none) and where it ends."""
    size = 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
    return data[position : position + size], position + size


def _gif_skip(data: bytes, position: int) -> int:
    """Return the end of the sub-blocks that start here."""
    while position < len(data):
        if data[position] == 0:
            return position + 1
        position += 1 + data[position]
    raise _DamagedError


# --- What all formats share -----------------------------------------------------------------------


def _orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where there is none or the block makes no sense."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * entry)
            if tag == 0x0112 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _upright(photo: torch.Tensor, orientation: int) -> torch.Tensor:
    """Turn and mirror (3, height, width) as EXIF says; orientations 5 to 8 swap height and width."""
    if orientation >= 5:
        photo = photo.transpose(1, 2)
    axes = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation, ())
    return photo.flip(axes) if axes else photo


def _to_8_bits(photo: torch.Tensor) -> torch.Tensor:
    """Scale 16 bits to 8, rounding, so that 65535 becomes 255."""
    if photo.dtype == torch.uint8:
        return photo
    # Channel by channel, since int32 takes twice the memory.
    return torch.stack([((channel.int() * 255 + 32895) >> 16).to(torch.uint8) for channel in photo])


def _on_white(photo: torch.Tensor) -> torch.Tensor:
    """Lay RGBA (4, height, width) on white → (3, height, width); other channel counts pass unchanged."""
    if photo.shape[0] != 4:
        return photo
    alpha = photo[3].int()
    rgb = photo[:3].contiguous()
    if alpha.min() == 255:
        return rgb
    for channel in rgb:
        channel.copy_((channel.int() * alpha + 255 * (255 - alpha) + 127) // 255)
    return rgb


def _paste(frame: torch.Tensor, canvas: tuple[int, int], left: int, top: int) -> torch.Tensor:
    """Lay the frame (3, height, width) on a white canvas of (width, height); what sticks out is cut."""
    width, height = canvas
    if (left, top) == (0, 0) and frame.shape[1:] == (height, width):
        return frame
    photo = torch.full((3, height, width), 255, dtype=torch.uint8)
    visible = frame[:, : max(height - top, 0), : max(width - left, 0)]
    photo[:, top : top + visible.shape[1], left : left + visible.shape[2]] = visible
    return photo


# --- Pixels that were decoded elsewhere -----------------------------------------------------------


def _from_array(array: np.ndarray) -> torch.Tensor:
    """(height, width) or (height, width, channels) → uint8 (3, height, width)."""
    if (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.ndim not in (2, 3):
        raise PhotoError(f"The given array has the shape {array.shape}: give one photo, (height, width, 3).")
    _check_dtype(str(array.dtype.newbyteorder("=")), "The given array")
    # A copy in native byte order and without negative strides, which is what torch can wrap.
    tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    return _from_tensor(tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor, "The given array")


def _check_dtype(dtype: str, name: str) -> None:
    if dtype not in ("uint8", "uint16", "float16", "bfloat16", "float32", "float64"):
        raise PhotoError(f"{name} holds {dtype} numbers: give uint8, uint16, or floats in 0..1.")


def _from_tensor(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """(height, width) or (channels, height, width) → uint8 (3, height, width)."""
    if tensor.ndim == 2:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise PhotoError(f"{name} has the shape {tuple(tensor.shape)}: give one photo, (3, height, width).")
    _check_dtype(str(tensor.dtype).removeprefix("torch."), name)
    _check_size(tensor.shape[2], tensor.shape[1], name)
    if tensor.is_floating_point():
        if not bool(((tensor >= 0) & (tensor <= 1)).all()):  # NaN fails both
            raise PhotoError(f"{name} holds NaN or floats outside 0..1: scale them to 0..1.")
        tensor = tensor.float().mul(255).round().to(torch.uint8)
    tensor = _on_white(_to_8_bits(tensor))
    return tensor.expand(3, -1, -1).contiguous()


def _from_pillow(image) -> torch.Tensor:
    """A PIL image of any mode → uint8 (3, height, width); one that Pillow hasn't read yet is read here."""
    from PIL import ImageOps

    _check_size(*image.size, "The given PIL image")
    try:
        pixels = _pillow_pixels(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's plugins raise anything from OSError to SyntaxError
        why = type(error).__name__
        raise PhotoError(f"The given PIL image can't be read ({why}): open its file again.") from None
    return _from_array(pixels)


def _pillow_pixels(image) -> np.ndarray:
    if image.mode == "F":
        return np.asarray(image)
    if image.mode.startswith("I"):
        # Pillow would clip these to 255; whatever the mode's width, they hold 16-bit photos.
        return np.asarray(image).clip(0, 65535).astype(np.uint16)
    if image.mode == "La":  # converts to nothing else
        image = image.convert("LA")
    return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
