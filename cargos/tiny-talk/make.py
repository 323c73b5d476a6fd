"""Writes a Hugging Face folder: a llama of 4 layers, 64 wide, with random weights and one token a byte.

The first dimension is the same at each place: no layer writes to it, so the output layer can use it as the bias that a llama does
not have, and the model says letters and spaces. `score.weight` is for who loads it as a classifier.
"""
import json
import struct
import sys
from pathlib import Path

import numpy as np

WIDTH, LAYERS, HEADS, KEY_HEADS, INNER, CONTEXT = 64, 4, 4, 2, 128, 2048
LETTERS = "etaoinshrdlucmfwypvbgk"
SPECIAL = ["<unk>", "<s>", "</s>"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

random = np.random.default_rng(21)


def matrix(rows, columns, scale=1.0):
    return (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)


def letters():
    """GPT-2's letter for each byte: printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(rest)) for byte in range(256)]


def tensors():
    size = len(SPECIAL) + 256
    embedding = matrix(size, WIDTH, 8)
    embedding[:, 0] = 2
    output = matrix(size, WIDTH, 4)
    output[:, 0] = -60
    output[len(SPECIAL) + ord(" "), 0] = 1
    for place, letter in enumerate(LETTERS):
        output[len(SPECIAL) + ord(letter), 0] = -0.05 * place
    yield "model.embed_tokens.weight", embedding
    yield "lm_head.weight", output
    yield "model.norm.weight", np.ones(WIDTH, np.float32)
    yield "score.weight", matrix(3, WIDTH)
    keys = WIDTH // HEADS * KEY_HEADS
    for layer in range(LAYERS):
        into = f"model.layers.{layer}."
        yield into + "input_layernorm.weight", np.ones(WIDTH, np.float32)
        yield into + "post_attention_layernorm.weight", np.ones(WIDTH, np.float32)
        yield into + "self_attn.q_proj.weight", matrix(WIDTH, WIDTH)
        yield into + "self_attn.k_proj.weight", matrix(keys, WIDTH)
        yield into + "self_attn.v_proj.weight", matrix(keys, WIDTH)
        yield into + "mlp.gate_proj.weight", matrix(INNER, WIDTH)
        yield into + "mlp.up_proj.weight", matrix(INNER, WIDTH)
        for name, columns in (("self_attn.o_proj", WIDTH), ("mlp.down_proj", INNER)):
            back = matrix(WIDTH, columns)
            back[0] = 0
            yield f"{into}{name}.weight", back


def main(folder):
    def write(name, value):
        (folder / name).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")

    write("config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(SPECIAL) + 256, "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
        "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "id2label": {"0": "low", "1": "middle", "2": "high"}, "label2id": {"low": 0, "middle": 1, "high": 2},
    })
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    vocabulary = {token: place for place, token in enumerate(SPECIAL + letters())}
    write("tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [
            {"id": place, "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False} for place, token in enumerate(SPECIAL)],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": []},
    })
    write("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False,
        "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>", "chat_template": TEMPLATE,
    })
    # The safetensors format: the header's length, the header, the tensors in its order.
    head, body = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors():
        data = tensor.astype("<f4").tobytes()
        head[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)


main(Path(sys.argv[1]))
