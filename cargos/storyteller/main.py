"""Reads one JSON object, {"about": TEXT, "words": N}, and answers in JSON lines: status, tokens, progress, an image, done."""
import base64
import json
import struct
import sys
import zlib


def say(**event):
    print(json.dumps(event, ensure_ascii=False), flush=True)


def picture(width, height):
    """A sky over waves, as PNG."""
    rows = b""
    for y in range(height):
        rows += b"\0"
        for x in range(width):
            sea = y > height // 2 + (x % 16 - 8) // 4
            rows += bytes((20, 60 + 2 * y, 140)) if sea else bytes((250 - 2 * y, 200 - y, 120))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


asked = json.loads(sys.stdin.readline() or "{}")
about = str(asked.get("about", "a whale"))
story = f"Once there was {about} 🐋 who crossed the grüne sea, found an island, and stayed until the tide came back.".split(" ")
words = story[: int(asked.get("words", len(story)))]
say(type="status", message=f"telling of {about}")
for place, word in enumerate(words):
    say(type="token", content=word + (" " if place + 1 < len(words) else "\n"))
    if (place + 1) % 5 == 0:
        say(type="progress", step=place + 1, total=len(words), phase="words")
say(type="image", data=base64.b64encode(picture(64, 48)).decode(), format="png", width=64, height=48)
say(type="done", usage={"prompt_tokens": len(about.split()), "completion_tokens": len(words)}, seed=0)
