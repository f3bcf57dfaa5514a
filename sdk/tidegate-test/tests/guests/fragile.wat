;; Traps when it sees a request's body, runs for ever when it sees a response's, and pauses for ever on a request that
;; ends with its head.
(func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
  (local.get $end))
(func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
  unreachable)
(func (export "proxy_on_response_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
  (loop $on (br $on))
  (i32.const 0))
