zig build-exe -target wasm32-freestanding -fno-entry -rdynamic -O ReleaseSmall -femit-bin=tour.wasm tour.zig
