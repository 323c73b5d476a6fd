"""Writes model.gguf: a llama of 4 layers, 64 wide, with random weights and one token a byte.

Its first dimension is the same at each place: no layer writes to it, so the output layer can use it as the bias that a llama
does not have, and the model says letters and spaces instead of broken UTF-8.
"""
import sys
from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, KEY_HEADS, INNER, CONTEXT = 64, 4, 4, 2, 128, 2048
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LETTERS = "etaoinshrdlucmfwypvbgk"

random = np.random.default_rng(20)


def matrix(rows, columns, scale=1.0):
    return (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)


def main(folder):
    writer = gguf.GGUFWriter(str(Path(folder) / "model.gguf"), "llama")
    writer.add_name("tiny-chat")
    writer.add_license("Apache-2.0")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    kinds = gguf.TokenType
    tokens = [(b"<unk>", kinds.UNKNOWN), (b"<s>", kinds.CONTROL), (b"</s>", kinds.CONTROL)]
    tokens += [(b"<0x%02X>" % byte, kinds.BYTE) for byte in range(256)]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)

    embedding = matrix(len(tokens), WIDTH, 8)
    embedding[:, 0] = 2
    output = matrix(len(tokens), WIDTH, 4)
    output[:, 0] = -60
    output[3 + ord(" "), 0] = 1
    for place, letter in enumerate(LETTERS):
        output[3 + ord(letter), 0] = -0.05 * place

    def half(name, tensor):
        writer.add_tensor(name, tensor.astype(np.float16))

    half("token_embd.weight", embedding)
    half("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    keys = WIDTH // HEADS * KEY_HEADS
    for layer in range(LAYERS):
        into = f"blk.{layer}."
        writer.add_tensor(into + "attn_norm.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(into + "ffn_norm.weight", np.ones(WIDTH, np.float32))
        half(into + "attn_q.weight", matrix(WIDTH, WIDTH))
        half(into + "attn_k.weight", matrix(keys, WIDTH))
        half(into + "attn_v.weight", matrix(keys, WIDTH))
        half(into + "ffn_gate.weight", matrix(INNER, WIDTH))
        half(into + "ffn_up.weight", matrix(INNER, WIDTH))
        for name, columns in (("attn_output", WIDTH), ("ffn_down", INNER)):
            back = matrix(WIDTH, columns)
            back[0] = 0
            half(into + name + ".weight", back)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1])
