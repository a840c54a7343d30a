#!/bin/sh
# Builds guest.wasm, plugin.wasm and command.wasm; needs clang-14 and lld-14, and
# for the command wasi-libc and libclang-rt-14-dev-wasm32.
cd "$(dirname "$0")" || exit
plain="--target=wasm32-unknown-unknown -O2 -nostdlib -Wl,--no-entry -Wl,--strip-all"
clang-14 $plain -mbulk-memory -Wl,--stack-first -Wl,-z,stack-size=1048576 -o guest.wasm guest.c &&
	clang-14 $plain -ffreestanding -fno-builtin -o plugin.wasm plugin.c &&
	clang-14 --target=wasm32-wasi -O2 -Wl,--strip-all -o command.wasm command.c
