npx asc tour.ts -b tour.wasm --use abort=abort_proc_exit --optimize
