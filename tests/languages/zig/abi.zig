//! What of Proxy-Wasm the tour needs: the functions that the host has, and the numbers that they take.

const std = @import("std");

pub const Status = enum(u32) { ok = 0, _ };
pub const Action = enum(u32) { proceed = 0, pause = 1 };
pub const Level = enum(u32) { info = 2, err = 4 };
pub const Stream = enum(u32) { request = 0 };
pub const Metric = enum(u32) { counter = 0, gauge = 1 };
pub const Map = enum(u32) { request_headers = 0, response_headers = 2, callout_headers = 6 };
pub const Buffer = enum(u32) { request_body = 0, response_body = 1, callout_body = 4, configuration = 7 };

pub const no_grpc_status: i32 = -1;
pub const everything = std.math.maxInt(usize);

pub extern "env" fn proxy_log(level: Level, text: [*]const u8, size: usize) Status;
pub extern "env" fn proxy_set_tick_period_milliseconds(period: u32) Status;
pub extern "env" fn proxy_set_effective_context(context: u32) Status;
pub extern "env" fn proxy_continue_stream(stream: Stream) Status;
pub extern "env" fn proxy_define_metric(kind: Metric, name: [*]const u8, size: usize, metric: *u32) Status;
pub extern "env" fn proxy_increment_metric(metric: u32, by: i64) Status;
pub extern "env" fn proxy_get_metric(metric: u32, value: *u64) Status;
pub extern "env" fn proxy_get_buffer_bytes(buffer: Buffer, start: usize, length: usize, bytes: *?[*]u8, size: *usize) Status;
pub extern "env" fn proxy_set_buffer_bytes(buffer: Buffer, start: usize, length: usize, bytes: [*]const u8, size: usize) Status;
pub extern "env" fn proxy_get_header_map_pairs(map: Map, pairs: *?[*]u8, size: *usize) Status;
pub extern "env" fn proxy_get_header_map_value(map: Map, name: [*]const u8, name_size: usize, value: *?[*]u8, size: *usize) Status;
pub extern "env" fn proxy_add_header_map_value(map: Map, name: [*]const u8, name_size: usize, value: [*]const u8, size: usize) Status;
pub extern "env" fn proxy_replace_header_map_value(map: Map, name: [*]const u8, name_size: usize, value: [*]const u8, size: usize) Status;
pub extern "env" fn proxy_remove_header_map_value(map: Map, name: [*]const u8, name_size: usize) Status;
pub extern "env" fn proxy_send_local_response(status: u32, details: [*]const u8, details_size: usize, body: [*]const u8, body_size: usize, pairs: [*]const u8, pairs_size: usize, grpc_status: i32) Status;
pub extern "env" fn proxy_http_call(cluster: [*]const u8, cluster_size: usize, pairs: [*]const u8, pairs_size: usize, body: [*]const u8, body_size: usize, trailers: ?[*]const u8, trailers_size: usize, timeout_milliseconds: u32, token: *u32) Status;
