"""Serves one text-to-image model over a unix socket: OpenAI's images/generations, pictures as PNG in base64."""
import argparse
import base64
import secrets
import time

import onnxruntime

import png
from painter import Painter
from wire import Wrong, number, serve, whole

LEAST_SIDE, MOST_SIDE = 64, 1024


def size(body):
    """Width and height, as OpenAI's `size` or by themselves."""
    text = body.get("size")
    if text in (None, "auto"):
        return whole(body, "width", LEAST_SIDE, MOST_SIDE, 512), whole(body, "height", LEAST_SIDE, MOST_SIDE, 512)
    sides = str(text).split("x")
    if len(sides) != 2 or not all(s.isascii() and s.isdigit() and len(s) <= 4 for s in sides):
        raise Wrong("'size' is WIDTHxHEIGHT, such as 512x512")
    width, height = (int(s) for s in sides)
    if not (LEAST_SIDE <= width <= MOST_SIDE and LEAST_SIDE <= height <= MOST_SIDE):
        raise Wrong(f"each side of a picture has {LEAST_SIDE} to {MOST_SIDE} pixels")
    return width, height


def images(painter):
    def way(body, isgone):
        prompt = body.get("prompt")
        if not isinstance(prompt, str):
            raise Wrong("'prompt' is missing")
        if body.get("output_format") not in (None, "png"):
            raise Wrong("pictures are PNG")
        width, height = size(body)
        count = whole(body, "n", 1, 10, 1)
        steps = whole(body, "steps" if body.get("steps") is not None else "num_steps", 1, 100, 20)
        seed = whole(body, "seed", 0, 1 << 53, secrets.randbits(32))
        guidance = number(body, "guidance_scale", 0, 100, 7.5)
        data = []
        for place in range(count):
            pixels = painter.paint(prompt, width, height, steps, guidance, seed, place, isgone)
            data.append({"b64_json": base64.b64encode(png.write(pixels)).decode()})
        return {"created": int(time.time()), "data": data, "output_format": "png", "size": f"{width}x{height}", "seed": seed}
    return way


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--threads", type=int, required=True)
    wanted = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A picture depends on its seed alone, never on how threads happen to run.
    options.use_deterministic_compute = True
    session = onnxruntime.InferenceSession(wanted.model, options, providers=["CPUExecutionProvider"])
    serve(wanted.socket, {"/v1/images/generations": images(Painter(session))}, places=2)


if __name__ == "__main__":
    main()
