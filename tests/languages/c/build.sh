zig cc -target wasm32-wasi -mexec-model=reactor -std=c23 -Wall -Oz -s -Wl,-z,stack-size=65536 -o tour.wasm tour.c
