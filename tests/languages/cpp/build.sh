zig c++ -target wasm32-wasi -mexec-model=reactor -std=c++20 -Wall -fno-exceptions -Oz -s \
  -Wl,-z,stack-size=65536 -Wl,--export=malloc -o tour.wasm tour.cc
