npx asc tour.ts -o tour.wasm --config node_modules/@assemblyscript/wasi-shim/asconfig.json \
  --use abort=abort_proc_exit --optimize
