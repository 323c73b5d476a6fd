"""Runs a WebAssembly module for WASI with the wasmtime wheel, which is a library without a command."""
import argparse
import os
import sys

import wasmtime


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--dir", action="append", default=[])
    parser.add_argument("module")
    parser.add_argument("arguments", nargs="*")
    wanted = parser.parse_args()
    # Compiled code is kept nowhere: what would be read again might be another job's.
    store = wasmtime.Store(wasmtime.Engine(wasmtime.Config()))
    wasi = wasmtime.WasiConfig()
    wasi.argv = [os.path.basename(wanted.module), *wanted.arguments]
    wasi.env = [tuple(pair.split("=", 1)) for pair in wanted.env]
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for folder in wanted.dir:
        wasi.preopen_dir(folder, folder)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(store.engine)
    linker.define_wasi()
    instance = linker.instantiate(store, wasmtime.Module.from_file(store.engine, wanted.module))
    try:
        instance.exports(store)["_start"](store)
    except wasmtime.ExitTrap as end:
        return end.code
    except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:
        print(f"the module trapped: {str(trap).splitlines()[0]}", file=sys.stderr)
        return 134
    return 0


if __name__ == "__main__":
    sys.exit(main())
