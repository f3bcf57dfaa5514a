;; Appends a bar to every piece of the request's body that it is shown.
(data (i32.const 0) "|")
(func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
  (drop (call $set_buffer (i32.const 0) (local.get $size) (i32.const 0) (i32.const 0) (i32.const 1)))
  (i32.const 0))
