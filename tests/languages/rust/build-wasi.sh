cargo build --release --target wasm32-wasip1
