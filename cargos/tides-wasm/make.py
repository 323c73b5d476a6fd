"""Compiles tides.c to tides.wasm, with the clang and the wasm-ld of the Swift toolchain or of LLVM."""
import os
import shutil
import subprocess
import sys
from pathlib import Path


def compiler():
    beside_swift = Path(os.path.realpath(shutil.which("swift") or "/")).parent / "clang"
    for clang in [str(beside_swift), "clang"]:
        path = shutil.which(clang)
        if path and (Path(path).parent / "wasm-ld").exists():
            return path
    sys.exit("tides-wasm: no clang with a wasm-ld beside it was found; put a Swift toolchain on PATH")


folder = Path(sys.argv[1])
subprocess.run(
    [
        compiler(), "--target=wasm32-unknown-wasi", "-std=c17", "-O2", "-nostdlib", "-ffreestanding", "-fno-builtin", "-Wall", "-Werror",
        "-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-Wl,--max-memory=16777216", "-o", str(folder / "tides.wasm"), str(folder / "tides.c"),
    ],
    check=True,
)
