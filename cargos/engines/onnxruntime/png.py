"""PNG with 8 bits a channel, as far as pictures of models need it: no interlace, no palettes."""
import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 4096 * 4096


def read(data: bytes) -> np.ndarray:
    """[height, width, channels] of bytes. Raises ValueError."""
    if data[:8] != SIGNATURE:
        raise ValueError("the picture is no PNG")
    at, body, head = 8, b"", None
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        part = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            head = struct.unpack(">IIBBBBB", part)
        elif kind == b"IDAT":
            body += part
        at += 12 + size
    if head is None:
        raise ValueError("the PNG has no head")
    width, height, depth, colour, _, _, interlace = head
    channels = {0: 1, 2: 3, 4: 2, 6: 4}.get(colour)
    if depth != 8 or channels is None or interlace or not 0 < width * height <= MOST_PIXELS:
        raise ValueError("the PNG has other than 8 bits a channel, a palette, interlacing, or too many pixels")
    step = width * channels
    wanted = height * (step + 1)
    raw = zlib.decompressobj().decompress(body, wanted)
    if len(raw) != wanted:
        raise ValueError("the PNG is cut off")
    lines = np.frombuffer(raw, np.uint8).reshape(height, step + 1)
    out = np.zeros((height, step), np.uint8)
    above = np.zeros(step, np.int32)
    for y in range(height):
        kind, line = lines[y, 0], lines[y, 1:].astype(np.int32)
        if kind == 1 or kind >= 3:
            for x in range(step):
                left = line[x - channels] if x >= channels else 0
                up, corner = above[x], above[x - channels] if x >= channels else 0
                if kind == 1:
                    guess = left
                elif kind == 3:
                    guess = (left + up) // 2
                else:
                    near = sorted(((abs(up - corner), 0, left), (abs(left - corner), 1, up),
                                   (abs(left + up - 2 * corner), 2, corner)))
                    guess = near[0][2]
                line[x] = (line[x] + guess) & 255
        elif kind == 2:
            line = (line + above) & 255
        out[y] = line
        above = line
    return out.reshape(height, width, channels)
