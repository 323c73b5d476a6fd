"""Draws the Mandelbrot set into $CARGO_OUTPUT/mandelbrot.png; progress goes to standard error."""

import json
import math
import os
import struct
import sys
import zlib
from pathlib import Path


def chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk: length, type, data, CRC (PNG specification, section 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def colour(steps: int, size: float, limit: int) -> bytes:
    """Black inside the set; outside, a smooth ramp over the escape time."""
    if steps == limit:
        return b"\0\0\0"
    smooth = (steps + 1 - math.log2(max(math.log2(size), 1e-9))) / limit
    red = int(9 * (1 - smooth) * smooth**3 * 255)
    green = int(15 * (1 - smooth) ** 2 * smooth**2 * 255)
    blue = int(8.5 * (1 - smooth) ** 3 * smooth * 255)
    return bytes(min(255, max(0, part)) for part in (red, green, blue))


def row(y: int, width: int, height: int, limit: int, centre: complex, span: float) -> bytes:
    pixels = bytearray(b"\0")  # filter type 0
    imaginary = centre.imag + (0.5 - (y + 0.5) / height) * span * height / width
    for x in range(width):
        point = complex(centre.real + ((x + 0.5) / width - 0.5) * span, imaginary)
        z, steps = 0j, 0
        while steps < limit and z.real * z.real + z.imag * z.imag <= 16.0:
            z = z * z + point
            steps += 1
        pixels += colour(steps, abs(z), limit)
    return bytes(pixels)


def main() -> int:
    params = json.loads(Path(os.environ["CARGO_PARAMS"]).read_text() or "{}")
    width = int(params.get("width", 320))
    height = int(params.get("height", 240))
    limit = int(params.get("iterations", 80))
    centre = complex(float(params.get("x", -0.5)), float(params.get("y", 0.0)))
    span = float(params.get("span", 3.2))
    if not (1 <= width <= 4096 and 1 <= height <= 4096 and 1 <= limit <= 10_000 and span > 0):
        print("mandelbrot: width and height are 1 to 4096, iterations 1 to 10000, span above 0", file=sys.stderr)
        return 2

    print(f"drawing {width}x{height}, {limit} iterations", flush=True)
    compressor, data, shown = zlib.compressobj(9), b"", -1
    for y in range(height):
        data += compressor.compress(row(y, width, height, limit, centre, span))
        percent = (y + 1) * 100 // height
        if percent // 10 != shown:
            shown = percent // 10
            print(f"{percent:3d} %", file=sys.stderr, flush=True)
    data += compressor.flush()

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    (Path(os.environ["CARGO_OUTPUT"]) / "mandelbrot.png").write_bytes(image)
    print(f"wrote mandelbrot.png, {len(image)} bytes")
    return 0


sys.exit(main())
