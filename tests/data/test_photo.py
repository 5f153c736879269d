"""Photos of every sort are read as Pillow shows them, and everything else is refused in one sentence."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_jpeg

from tweetcap.data import photo as photo_module
from tweetcap.data.photo import MAX_BYTES, MAX_PIXELS, PhotoError, load_photo

HEIGHT, WIDTH = 48, 64


def gradient(mode: str = "RGB") -> Image.Image:
    """A smooth picture whose corners all differ, so that a mirrored or shifted reading shows."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray(np.stack([x * 4, y * 5, 255 - (x + y) * 2], -1).astype(np.uint8)).convert(mode)


def see_through() -> Image.Image:
    """The gradient, fading from transparent at the left to opaque at the right."""
    image = gradient("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1)).astype(np.uint8)))
    return image


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def on_white(image: Image.Image) -> np.ndarray:
    image = image.convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def pillow_reads(data: bytes) -> np.ndarray:
    return on_white(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))


def assert_same(photo: torch.Tensor, expected: np.ndarray, tolerance: int = 0) -> None:
    """photo (3, height, width) and expected (height, width, 3) agree within the tolerance at every pixel."""
    assert photo.dtype == torch.uint8 and photo.is_contiguous() and photo.device.type == "cpu"
    assert photo.shape == (3, *expected.shape[:2])
    difference = np.abs(photo.permute(1, 2, 0).numpy().astype(int) - expected.astype(int)).max()
    assert difference <= tolerance


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def sentence(photo) -> str:
    """Return the message with which the photo is refused, checked to be one sentence with a remedy."""
    with pytest.raises(PhotoError) as error:
        load_photo(photo)
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message and ": " in message
    return message


# --- What is read ---------------------------------------------------------------------------------


PICTURES = {
    "jpeg": saved(gradient(), "JPEG", quality=90),
    "progressive jpeg": saved(gradient(), "JPEG", progressive=True),
    "jpeg with restart markers": saved(gradient(), "JPEG", restart_marker_blocks=2),
    "grey jpeg": saved(gradient("L"), "JPEG"),
    "rgb jpeg": saved(gradient(), "JPEG", keep_rgb=True),
    "cmyk jpeg": saved(gradient("CMYK"), "JPEG"),
    "jpeg with a film behind it": saved(gradient(), "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(1000),
    "png": saved(gradient(), "PNG"),
    "grey png": saved(gradient("L"), "PNG"),
    "1-bit png": saved(gradient("1"), "PNG"),
    "grey and alpha png": saved(see_through().convert("LA"), "PNG"),
    "rgba png": saved(see_through(), "PNG"),
    "rgb png with a transparent colour": saved(gradient(), "PNG", transparency=gradient().getpixel((9, 9))),
    "grey png with a transparent level": saved(gradient("L"), "PNG", transparency=96),
    "palette png": saved(gradient("P"), "PNG"),
    "2-bit palette png": saved(gradient().quantize(4), "PNG", bits=2),
    "palette png with alphas": saved(gradient().quantize(16), "PNG", bits=4, transparency=bytes([0, 90, 200])),
    "webp": saved(gradient(), "WEBP"),
    "lossless webp": saved(gradient(), "WEBP", lossless=True),
    "webp with alpha": saved(see_through(), "WEBP", lossless=True, exact=True),
    "lossy webp with alpha": saved(see_through(), "WEBP"),
    "gif": saved(gradient(), "GIF"),
    "interlaced gif": saved(gradient("P"), "GIF", interlace=1),
    "gif with a transparent colour": saved(gradient().quantize(8), "GIF", transparency=2),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_photo_is_read_as_pillow_reads_it(name):
    # Pillow and torchvision bring their own libjpeg and libwebp, which may round differently.
    assert_same(load_photo(PICTURES[name]), pillow_reads(PICTURES[name]), tolerance=2)


def adobe_jpeg(transform: int | None) -> bytes:
    """A four-channel JPEG whose Adobe marker says CMYK (0) or YCCK (2), or is missing (None)."""
    data = saved(gradient("CMYK"), "JPEG")
    at = data.index(b"Adobe")
    (length,) = struct.unpack_from(">H", data, at - 2)
    if transform is None:
        return data[: at - 4] + data[at - 2 + length :]
    return data[: at + 11] + bytes([transform]) + data[at + 12 :]


@pytest.mark.parametrize("transform", [0, 2, None])
def test_cmyk_and_ycck_inverted_or_not_become_the_same_rgb_as_in_pillow(transform):
    data = adobe_jpeg(transform)
    assert_same(load_photo(data), pillow_reads(data), tolerance=2)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation_is_honoured(format, value):
    options = {} if format == "PNG" else {"quality": 95}
    data = saved(gradient(), format, exif=orientation(value), **options)
    photo = load_photo(data)
    assert photo.shape == ((3, HEIGHT, WIDTH) if value < 5 else (3, WIDTH, HEIGHT))
    assert_same(photo, pillow_reads(data), tolerance=2)


def test_an_orientation_that_makes_no_sense_is_ignored():
    assert load_photo(saved(gradient(), "JPEG", exif=orientation(77))).shape == (3, HEIGHT, WIDTH)
    assert load_photo(saved(gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).shape == (
        3,
        HEIGHT,
        WIDTH,
    )


def png(width, height, depth, colour, rows: bytes, interlace=0, extra: bytes = b"") -> bytes:
    chunk = photo_module._png_chunk
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_scaled_to_eight(colour, channels):
    values = np.linspace(0, 65535, 20 * 30 * channels).round().astype(">u2").reshape(20, 30, channels)
    if colour in (4, 6):
        values[..., -1] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    expected = np.round(values[..., : 3 if channels > 2 else 1] / 257)
    assert_same(load_photo(png(30, 20, 16, colour, rows)), np.broadcast_to(expected, (20, 30, 3)))


def test_a_transparent_colour_of_sixteen_bits_becomes_white():
    rows = b"".join(b"\0" + struct.pack(">20H", *range(1000, 21000, 1000)) for _ in range(16))
    data = png(20, 16, 16, 0, rows, extra=photo_module._png_chunk(b"tRNS", struct.pack(">H", 3000)))
    photo = load_photo(data)
    assert photo[:, 0, 2].tolist() == [255, 255, 255]
    assert photo[:, 0, 3].tolist() == [16, 16, 16]


@pytest.mark.parametrize("size", [(16, 16), (17, 19), (23, 16)])
def test_an_interlaced_png_is_read(size):
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows = b""
    for left, top, step_x, step_y in photo_module.ADAM7:
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::step_y, left::step_x])
    data = png(width, height, 8, 2, rows, interlace=1)
    assert_same(load_photo(data), pixels)
    assert_same(load_photo(data), pillow_reads(data))


KINDS = [(colour, depth) for colour, depths in photo_module.PNG_DEPTHS.items() for depth in depths]


@given(st.sampled_from(KINDS), st.integers(16, 40), st.integers(16, 40), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_png_of_any_kind_and_row_filters_is_read_as_pillow_reads_it(kind, width, height, interlace, seed):
    (colour, depth), generator = kind, random.Random(seed)
    bits = depth * photo_module.PNG_CHANNELS[colour]
    rows = b""
    for count, size in photo_module._png_passes(width, height, bits, interlace):
        rows += b"".join(bytes([generator.randrange(5)]) + generator.randbytes(size - 1) for _ in range(count))
    palette = photo_module._png_chunk(b"PLTE", generator.randbytes(3 * 2**depth)) if colour == 3 else b""
    data = png(width, height, depth, colour, rows, interlace, palette)
    expected = pillow_reads(data)
    if (colour, depth) == (0, 16):  # which Pillow would clip on the way to RGB
        expected = np.round(np.array(Image.open(io.BytesIO(data))) / 257)[..., None].repeat(3, -1)
    assert_same(load_photo(data), expected, tolerance=2)


def test_a_palette_shorter_than_its_pixels_does_not_read_beyond_it():
    rows = b"".join(b"\0" + bytes(range(200, 220)) for _ in range(16))
    data = png(20, 16, 8, 3, rows, extra=photo_module._png_chunk(b"PLTE", b"\x10\x20\x30"))
    assert load_photo(data).unique().tolist() == [0]


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(format):
    first = gradient("P" if format == "GIF" else "RGB")
    others = [first.rotate(angle) for angle in (90, 180, 270)]
    data = saved(first, format, save_all=True, append_images=others, **({"quality": 95} if format == "WEBP" else {}))
    assert Image.open(io.BytesIO(data)).n_frames == 4
    assert_same(load_photo(data), pillow_reads(data), tolerance=2)


def test_the_later_frames_of_a_gif_are_never_decoded(monkeypatch):
    sizes = []
    run = photo_module._run
    monkeypatch.setattr(photo_module, "_run", lambda decode, data: sizes.append(len(data)) or run(decode, data))
    one = saved(gradient("P"), "GIF")
    frame = one[one.index(b",") : -1]
    assert load_photo(one[:-1] + frame * 3000 + b";").shape == (3, HEIGHT, WIDTH)
    assert sizes[0] <= len(one) + 1000


def test_a_gif_frame_smaller_than_its_screen_lies_on_white():
    one = saved(gradient("P"), "GIF")
    at = one.index(b",", 13 + 3 * 2 ** ((one[10] & 7) + 1))  # after the palette
    placed = bytearray(one)
    struct.pack_into("<HH", placed, 6, 100, 80)  # the screen
    struct.pack_into("<HH", placed, at + 1, 10, 20)  # the frame's left and top
    photo = load_photo(bytes(placed))
    assert photo.shape == (3, 80, 100)
    assert_same(photo[:, 20:68, 10:74].contiguous(), np.array(gradient("P").convert("RGB")))
    assert photo[:, :20].unique().tolist() == [255] and photo[:, :, :10].unique().tolist() == [255]


def test_path_text_path_and_bytes_give_the_same_photo(tmp_path):
    path = tmp_path / "猫の写真.png"
    path.write_bytes(PICTURES["png"])
    for photo in (path, str(path), PICTURES["png"], bytearray(PICTURES["png"]), memoryview(PICTURES["png"])):
        assert_same(load_photo(photo), np.array(gradient()))


def test_the_content_decides_and_not_the_name(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(PICTURES["png"])
    assert_same(load_photo(path), np.array(gradient()))
    (tmp_path / "text.jpg").write_text("not a photo")
    assert "not a photo" in sentence(tmp_path / "text.jpg")


@pytest.mark.parametrize("size", [(5000, 16), (16, 5000)])
def test_a_very_long_photo_is_read(size):
    assert load_photo(saved(Image.new("RGB", size), "JPEG")).shape == (3, size[1], size[0])


# --- Arrays, tensors and PIL images ---------------------------------------------------------------


PIXELS = np.array(gradient())


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PIXELS, PIXELS),
        (PIXELS[:, ::-1], PIXELS[:, ::-1]),
        (PIXELS.astype(np.uint16) * 257, PIXELS),
        ((PIXELS.astype(np.uint16) * 257).astype(">u2"), PIXELS),
        (PIXELS / 255, PIXELS),
        ((PIXELS / 255).astype(np.float32), PIXELS),
        (PIXELS[..., 0], PIXELS[..., :1].repeat(3, -1)),
        (PIXELS[..., :1], PIXELS[..., :1].repeat(3, -1)),
        (np.array(see_through()), on_white(see_through())),
    ],
)
def test_an_array_is_read(array, expected):
    assert_same(load_photo(array), expected, tolerance=1)


def test_a_read_only_array_is_copied():
    array = PIXELS.copy()
    array.flags.writeable = False
    photo = load_photo(array)
    photo.zero_()
    assert array.max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_tensor_of_floats_is_read(dtype):
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    assert_same(load_photo(tensor.to(dtype) / 255), PIXELS, tolerance=1)


def test_a_tensor_is_read_in_every_shape():
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    assert_same(load_photo(tensor), PIXELS)
    assert_same(load_photo((tensor.int() * 257).to(torch.uint16)), PIXELS)
    grey = PIXELS[..., :1].repeat(3, -1)
    assert_same(load_photo(tensor[:1]), grey)
    assert_same(load_photo(tensor[0]), grey)
    rgba = torch.from_numpy(np.array(see_through())).permute(2, 0, 1)
    before = rgba.clone()
    assert_same(load_photo(rgba), on_white(see_through()), tolerance=1)
    assert torch.equal(rgba, before)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_a_pil_image_of_any_opaque_mode_is_read(mode):
    if mode == "LAB":  # Pillow converts to LAB only through a profile
        from PIL import ImageCms

        profiles = [ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")]
        image = ImageCms.profileToProfile(gradient(), *profiles, outputMode="LAB")
    else:
        image = gradient(mode)
    assert_same(load_photo(image), np.array(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_a_transparent_pil_image_lies_on_white(mode):
    image = {
        "RGBA": see_through,
        "LA": lambda: see_through().convert("LA"),
        "PA": lambda: see_through().convert("LA").convert("PA"),
        "La": lambda: see_through().convert("LA").convert("La"),
        "RGBa": lambda: see_through().convert("RGBa"),
    }[mode]()
    straight = image.convert("LA") if mode == "La" else image
    assert_same(load_photo(image), on_white(straight), tolerance=2)


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_a_pil_image_of_sixteen_bits_is_scaled_and_not_clipped(mode):
    values = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    image = Image.fromarray(values if mode == "I;16" else values.astype(np.int32))
    assert image.mode == mode
    assert_same(load_photo(image), np.round(values / 257)[..., None].repeat(3, -1))


def test_the_orientation_of_a_pil_image_is_honoured():
    data = saved(gradient(), "JPEG", exif=orientation(6))
    assert load_photo(Image.open(io.BytesIO(data))).shape == (3, WIDTH, HEIGHT)


def test_bytes_are_read_without_pillow(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "PIL"]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it would now fail
    for data in PICTURES.values():
        assert load_photo(data).shape == (3, HEIGHT, WIDTH)


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello", "known format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", "video"),
        (b"\x1aE\xdf\xa3webm", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"%PDF-1.7\n", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"PK\3\4docx", "archive"),
        (saved(gradient(), "BMP"), "BMP"),
        (saved(gradient(), "TIFF"), "TIFF"),
        (saved(gradient(), "ICO"), "icon"),
        (saved(gradient(), "JPEG2000"), "JPEG 2000"),
        (saved(Image.new("RGB", (1, 1)), "PNG"), "1 × 1"),
        (saved(Image.new("RGB", (500, 15)), "JPEG"), "500 × 15"),
        (saved(Image.new("RGB", (1, 1)), "GIF"), "1 × 1"),
        (saved(Image.new("RGB", (1, 1)), "WEBP"), "1 × 1"),
        (bytes(MAX_BYTES + 1), "20 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_what_is_no_photo_is_refused_by_its_name(data, word):
    message = sentence(data)
    assert word in message and "the given bytes" in message


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_photo_cut_short_is_refused_and_not_half_grey(name, share):
    data = PICTURES[name].removesuffix(b"\0\0\0\x18ftypmp42" + bytes(1000))
    assert "damaged or cut short" in sentence(data[: max(40, int(len(data) * share))])


def test_a_photo_with_a_damaged_middle_does_not_crash_the_process():
    data = bytearray(PICTURES["png"])
    data[len(data) // 2] ^= 0xFF  # torchvision alone dies of a segmentation fault here
    assert "damaged" in sentence(bytes(data))


def broken_size(format: str, width: int, height: int) -> bytes:
    """A photo whose header claims another size."""
    data = bytearray(saved(gradient(), format, **({"lossless": True} if format == "WEBP" else {})))
    if format == "JPEG":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    elif format == "PNG":
        header = struct.pack(">II", width, height) + data[24:29]
        data[8:33] = photo_module._png_chunk(b"IHDR", header)
    elif format == "WEBP":
        struct.pack_into("<I", data, 21, (width - 1) | (height - 1) << 14)
    else:
        struct.pack_into("<HH", data, 6, width, height)
    return bytes(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_too_many_pixels_are_refused_before_anything_is_decoded(format, monkeypatch):
    monkeypatch.setattr(photo_module, "_run", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(photo_module.simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    assert "16000 × 16000" in sentence(broken_size(format, 16000, 16000))
    with pytest.raises(PhotoError, match="16000 × 16000"):
        load_photo(broken_size(format, 16000, 16000), least_side=100)


@pytest.mark.parametrize("size", [(65535, 16), (65535, 381)])
def test_a_header_that_promises_pixels_which_are_not_there_is_refused(size):
    assert size[0] * size[1] <= MAX_PIXELS
    for format in ("JPEG", "PNG"):
        assert "damaged" in sentence(broken_size(format, *size))


def test_a_jpeg_of_countless_scans_is_refused():
    data = saved(gradient(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    assert "scans" in sentence(data[:at] + data[at:-2] * 200 + b"\xff\xd9")


def test_a_png_that_inflates_without_end_is_not_inflated_beyond_its_size():
    rows = b"".join(b"\0" + bytes(60) for _ in range(20)) + bytes(30_000_000)
    assert load_photo(png(20, 20, 8, 2, rows)).shape == (3, 20, 20)


def test_a_path_that_leads_to_no_photo_is_named(tmp_path):
    missing = tmp_path / "居ない.jpg"
    assert str(missing) in sentence(missing) and "does not exist" in sentence(str(missing))
    assert "folder" in sentence(tmp_path)
    assert "does not exist" in sentence("")
    assert "download" in sentence("https://example.com/cat.jpg")
    assert "characters" in sentence("cat\0.jpg")
    assert len(sentence("x" * 100_000)) < 400
    (tmp_path / "empty.jpg").touch()
    assert "empty" in sentence(tmp_path / "empty.jpg")
    with open(tmp_path / "heavy.jpg", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "20 MB" in sentence(tmp_path / "heavy.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "regular file" in sentence(tmp_path / "pipe.jpg")


def with_nan() -> np.ndarray:
    array = PIXELS / 255
    array[3, 3] = np.nan
    return array


@pytest.mark.parametrize(
    ("photo", "word"),
    [
        (None, "NoneType"),
        (42, "int"),
        ([PIXELS], "list"),
        (np.zeros((2, HEIGHT, WIDTH, 3), np.uint8), "shape"),
        (np.zeros((3, HEIGHT, WIDTH), np.uint8), "shape"),
        (np.zeros((HEIGHT, WIDTH, 2), np.uint8), "shape"),
        (np.zeros(100, np.uint8), "shape"),
        (np.zeros((0, 0, 3), np.uint8), "0 × 0"),
        (np.zeros((6000, 6000), np.uint8), "25 million"),
        (PIXELS.astype(np.int64), "int64"),
        (PIXELS > 9, "bool"),
        (PIXELS.astype(object), "object"),
        (PIXELS.astype(np.float32), "0..1"),
        (PIXELS / -255, "0..1"),
        (with_nan(), "NaN"),
        (torch.zeros(1, 3, HEIGHT, WIDTH, dtype=torch.uint8), "shape"),
        (torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8), "shape"),
        (torch.zeros(3, HEIGHT, WIDTH, dtype=torch.int64), "int64"),
        (torch.full((3, HEIGHT, WIDTH), torch.nan), "NaN"),
        (torch.full((3, HEIGHT, WIDTH), torch.inf), "0..1"),
        (Image.new("RGB", (3, 3)), "3 × 3"),
        (Image.new("F", (30, 30), 7.0), "0..1"),
        (Image.open(io.BytesIO(PICTURES["jpeg"][:-200])), "can't be read"),
    ],
)
def test_pixels_that_make_no_photo_are_refused(photo, word):
    assert word in sentence(photo)


# --- Whatever comes -------------------------------------------------------------------------------


def is_read_or_refused(data: bytes) -> bool:
    try:
        photo = load_photo(data)
    except PhotoError as error:
        return "\n" not in str(error)
    return photo.dtype == torch.uint8 and photo.shape[0] == 3 and min(photo.shape[1:]) >= 16


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8X", b"GIF89a"]


@given(st.sampled_from(HEADS), st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_read_or_refused(head, data):
    assert is_read_or_refused(head + data)


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Return the data with a few bytes changed, removed, added or cut off."""
    data = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 4, 10])):
        at = generator.randrange(len(data) or 1)
        action = generator.randrange(5)
        if action <= 1:
            data[at : at + 1] = bytes([generator.randrange(256)])
        elif action == 2:
            del data[at : at + generator.randrange(1, 20)]
        elif action == 3:
            data[at:at] = generator.randbytes(generator.randrange(1, 9))
        elif generator.random() < 0.2:
            del data[at:]
    return bytes(data)


ANIMATION = dict(save_all=True, append_images=[gradient().rotate(90)])
SEEDS = [
    *PICTURES.values(),
    saved(gradient(), "JPEG", exif=orientation(6)),
    saved(gradient(), "WEBP", exif=orientation(6)),
    saved(gradient(), "PNG", exif=orientation(6)),
    saved(gradient(), "WEBP", **ANIMATION),
    saved(gradient(), "GIF", **ANIMATION),
]


@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_damaged_photos_are_read_or_refused(data, seed):
    assert is_read_or_refused(mutated(data, random.Random(seed)))


# --- JPEGs that may come smaller ------------------------------------------------------------------


def landscape(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Waves of several lengths, so that a wrong reduction shows."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 60 * np.sin(x / 40 + y / 90 * k) + 50 * np.cos(x / 11 * k + y / 7) for k in (1, 2, 3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": orientation(6)}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_large_jpeg_comes_smaller_and_shows_the_same(mode, options):
    data = saved(landscape(1000, 700, mode), "JPEG", quality=95, **options)
    whole, small = load_photo(data), load_photo(data, least_side=100)
    assert small.is_contiguous() and small.dtype == torch.uint8
    assert 100 <= min(small.shape[1:]) < 200 < min(whole.shape[1:])
    both = [
        np.asarray(Image.fromarray(photo.permute(1, 2, 0).numpy()).resize((80, 80), Image.Resampling.LANCZOS))
        for photo in (whole, small)
    ]
    assert np.abs(both[0].astype(int) - both[1].astype(int)).mean() < 2


@pytest.mark.parametrize("size", [(199, 400), (64, 48), (400, 199)])
def test_a_small_jpeg_comes_as_it_always_does(size):
    data = saved(landscape(*size), "JPEG")
    assert torch.equal(load_photo(data, least_side=100), load_photo(data))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_other_formats_come_in_full(format):
    data = saved(landscape(500, 400), format)
    assert torch.equal(load_photo(data, least_side=100), load_photo(data))


def test_a_jpeg_of_four_colours_comes_in_full():
    data = saved(landscape(500, 400, "CMYK"), "JPEG")
    assert torch.equal(load_photo(data, least_side=100), load_photo(data))


def test_a_damaged_jpeg_is_refused_or_read_as_it_is_in_full():
    data = saved(landscape(600, 500), "JPEG")
    chance = random.Random(5)
    for _ in range(60):
        broken = bytearray(data[: chance.choice([len(data), chance.randrange(len(data))])])
        for _ in range(chance.randrange(4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        outcomes = []
        for least_side in (None, 100):
            try:
                outcomes.append(load_photo(bytes(broken), least_side).shape[0])
            except PhotoError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]


def test_the_decoders_are_torchvision_s_without_its_import(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(landscape(300, 200), "JPEG"))
    script = (
        "import sys; from tweetcap.data.photo import load_photo; print(load_photo(sys.argv[1]).sum().item());"
        "print('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    expected = decode_jpeg(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8), ImageReadMode.RGB)
    assert done.stdout.split() == [str(expected.sum().item()), "False"]
