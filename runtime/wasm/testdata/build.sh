#!/bin/sh
# Builds guest.wasm; needs clang-14 and lld-14.
cd "$(dirname "$0")" && clang-14 --target=wasm32-unknown-unknown -O2 -mbulk-memory -nostdlib -Wl,--no-entry -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=1048576 -o guest.wasm guest.c
