"""Pictures from a prompt: noise that the model cleans step by step. The model's metadata say how it is driven."""
import numpy as np

from wire import Wrong

MOST_TOKENS = 8192


class Painter:
    """A model whose one run is one step: latents, prompt_ids, step (1 to 0) and guidance in, next_latents and image out."""

    def __init__(self, session):
        self.session = session
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        inputs, outputs = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
        if metadata.get("task") != "text-to-image" or metadata.get("tokenizer") != "bytes":
            raise SystemExit("the model's metadata say neither 'task: text-to-image' nor 'tokenizer: bytes'")
        if inputs != {"latents", "prompt_ids", "step", "guidance"} or not {"next_latents", "image"} <= outputs:
            raise SystemExit("the model is no step of a painter: latents, prompt_ids, step, guidance to next_latents, image")
        self.channels, self.scale = int(metadata.get("latent-channels", "4")), int(metadata.get("latent-scale", "8"))

    def paint(self, prompt, width, height, steps, guidance, seed, number, isgone):
        """[height, width, 3] of bytes. Each picture of a batch has its own noise, which the seed and its place alone decide."""
        if width % self.scale or height % self.scale:
            raise Wrong(f"each side of a picture is a multiple of {self.scale}")
        ids = np.array([[b + 1 for b in prompt.encode()[:MOST_TOKENS]] or [0]], np.int64)
        noise = np.random.Generator(np.random.PCG64([seed, number]))
        latents = noise.standard_normal((1, self.channels, height // self.scale, width // self.scale)).astype(np.float32)
        strength = np.array([guidance], np.float32)
        for step in range(steps):
            if isgone():
                raise ConnectionError("nobody waits for the picture any more")
            left = np.array([1 - step / (steps - 1) if steps > 1 else 0], np.float32)
            feed = {"latents": latents, "prompt_ids": ids, "step": left, "guidance": strength}
            latents, image = self.session.run(["next_latents", "image"], feed)
        return (np.clip(image[0], 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
