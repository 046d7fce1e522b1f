"""A real server of llama.cpp with a random network of half a megabyte, in a process of its own.

It needs the packages xllamacpp and gguf. The network knows nothing; the server keeps its answers to the JSON schema.
"""

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

WIDTH, HEADS, LAYERS, INNER, CONTEXT = 64, 4, 2, 128, 16_384
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "


def write_network(path):
    """A random Llama, whose tokens are the ASCII characters; it likes quotes, so that its texts come to an end."""
    import gguf

    rng = np.random.default_rng(0)
    characters = [chr(code) for code in range(33, 127)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *characters]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)

    def random(*shape):
        return (0.02 * rng.standard_normal(shape)).astype(np.float32)

    ones = np.ones(WIDTH, np.float32)
    output = random(len(tokens), WIDTH)
    for character, liking in (('"', 3.0), ("{", 3.0), ("}", 2.0)):
        output[tokens.index(character)] += liking / WIDTH
    writer.add_tensor("token_embd.weight", random(len(tokens), WIDTH) + 1)  # so that `liking` is added to a logit
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", random(WIDTH, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", random(INNER, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", random(INNER, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", random(WIDTH, INNER))
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def serving():
    """Start the server; gives its address."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    try:
        while not (line := process.stdout.readline()).startswith("http"):
            assert process.poll() is None, "the server has ended"
        yield line.strip()
    finally:
        process.kill()
        process.wait()


def main():
    import xllamacpp

    with tempfile.TemporaryDirectory() as folder:
        write_network(Path(folder) / "random.gguf")
        params = xllamacpp.CommonParams()
        params.model.path = f"{folder}/random.gguf"
        params.n_ctx, params.n_parallel, params.warmup = CONTEXT, 1, False
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = 1
        params.port = 0
        server = xllamacpp.Server(params)
        print(server.listening_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
