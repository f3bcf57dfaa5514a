//! The tour in Zig, without an SDK and without an operating system: see ../README.md.

const std = @import("std");
const abi = @import("abi.zig");

const timeout_ms = 5000;

/// What the host writes lies here, and is ours to free.
const allocator = std.heap.wasm_allocator;

var configuration: []const u8 = "";
var requests: u32 = 0;
var ticks: u32 = 0;

/// Which exchange waits for a tick; 0 for none.
var later: u32 = 0;

/// Which exchange waits for which answer: an answer comes to the root.
var waiting: std.AutoHashMapUnmanaged(u32, u32) = .empty;

export fn proxy_abi_version_0_2_1() void {}

export fn proxy_on_memory_allocate(size: usize) ?[*]u8 {
    const block = allocator.alloc(u8, size) catch return null;
    return block.ptr;
}

/// What a callback needs while it runs. `text` is out of memory where a filter can only give up.
const Scratch = struct {
    arena: std.heap.ArenaAllocator = .init(allocator),

    fn text(scratch: *Scratch, comptime format: []const u8, arguments: anytype) []const u8 {
        return std.fmt.allocPrint(scratch.arena.allocator(), format, arguments) catch @panic("out of memory");
    }

    fn say(scratch: *Scratch, comptime format: []const u8, arguments: anytype) void {
        const line = scratch.text("[tour] " ++ format, arguments);
        _ = abi.proxy_log(.info, line.ptr, line.len);
    }

    /// Takes what a function of the host has written; nothing where it did not do so.
    fn taken(scratch: *Scratch, status: abi.Status, bytes: ?[*]u8, size: usize) []const u8 {
        if (status != .ok or size == 0) return "";
        const block = bytes.?[0..size];
        defer allocator.free(block);
        return scratch.text("{s}", .{block});
    }

    fn header(scratch: *Scratch, map: abi.Map, name: []const u8) []const u8 {
        var bytes: ?[*]u8 = null;
        var size: usize = 0;
        const status = abi.proxy_get_header_map_value(map, name.ptr, name.len, &bytes, &size);
        return scratch.taken(status, bytes, size);
    }

    fn buffer(scratch: *Scratch, which: abi.Buffer) []const u8 {
        var bytes: ?[*]u8 = null;
        var size: usize = 0;
        const status = abi.proxy_get_buffer_bytes(which, 0, abi.everything, &bytes, &size);
        return scratch.taken(status, bytes, size);
    }

    /// All values of a field, with bars between them.
    fn valuesOf(scratch: *Scratch, map: abi.Map, name: []const u8) []const u8 {
        var bytes: ?[*]u8 = null;
        var size: usize = 0;
        const status = abi.proxy_get_header_map_pairs(map, &bytes, &size);
        const pairs = scratch.taken(status, bytes, size);
        if (pairs.len == 0) return "";
        // How many there are; the sizes of each; then names and values, each with a zero behind it.
        const count = number(pairs, 0);
        var at = 4 + 8 * count;
        var joined: []const u8 = "";
        for (0..count) |i| {
            const field = pairs[at..][0..number(pairs, 4 + 8 * i)];
            at += field.len + 1;
            const value = pairs[at..][0..number(pairs, 8 + 8 * i)];
            at += value.len + 1;
            if (!std.mem.eql(u8, field, name)) continue;
            joined = scratch.text("{s}{s}{s}", .{ joined, if (joined.len > 0) "|" else "", value });
        }
        return joined;
    }

    /// Pairs as the host reads them.
    fn pairsOf(scratch: *Scratch, comptime fields: []const [2][]const u8) []const u8 {
        var sizes: []const u8 = &std.mem.toBytes(@as(u32, fields.len));
        var parts: []const u8 = "";
        inline for (fields) |field| inline for (field) |part| {
            sizes = scratch.text("{s}{s}", .{ sizes, &std.mem.toBytes(@as(u32, part.len)) });
            parts = scratch.text("{s}{s}\x00", .{ parts, part });
        };
        return scratch.text("{s}{s}", .{ sizes, parts });
    }
};

fn number(bytes: []const u8, at: usize) u32 {
    return std.mem.readInt(u32, bytes[at..][0..4], .little);
}

fn setHeader(map: abi.Map, name: []const u8, value: []const u8) void {
    _ = abi.proxy_replace_header_map_value(map, name.ptr, name.len, value.ptr, value.len);
}

fn removeHeader(map: abi.Map, name: []const u8) void {
    _ = abi.proxy_remove_header_map_value(map, name.ptr, name.len);
}

export fn proxy_on_context_create(context: u32, parent: u32) void {
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    if (parent == 0) scratch.say("context_create ctx={d} parent=0", .{context});
}

export fn proxy_on_vm_start(_: u32, _: usize) bool {
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    scratch.say("printed", .{}); // there is no standard output
    return true;
}

export fn proxy_on_configure(_: u32, _: usize) bool {
    var scratch: Scratch = .{}; // kept: the configuration lies there
    configuration = scratch.buffer(.configuration);
    if (configuration.len == 0) {
        const why = "[tour] there is no configuration";
        _ = abi.proxy_log(.err, why, why.len);
        return false;
    }
    scratch.say("configured with {s}", .{configuration});
    const names = .{ "tour_requests", "tour_ticks" };
    _ = abi.proxy_define_metric(.counter, names[0], names[0].len, &requests);
    _ = abi.proxy_define_metric(.gauge, names[1], names[1].len, &ticks);
    return true;
}

export fn proxy_on_tick(_: u32) void {
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    var count: u64 = 0;
    _ = abi.proxy_increment_metric(ticks, 1);
    _ = abi.proxy_get_metric(ticks, &count);
    _ = abi.proxy_set_tick_period_milliseconds(0);
    if (abi.proxy_set_effective_context(later) != .ok) return; // the client has left
    setHeader(.request_headers, "x-ticks", scratch.text("{d}", .{count}));
    _ = abi.proxy_continue_stream(.request);
}

export fn proxy_on_request_headers(context: u32, _: u32, _: u32) abi.Action {
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    const path = scratch.header(.request_headers, ":path");
    scratch.say("request_headers {s}", .{path});
    _ = abi.proxy_increment_metric(requests, 1);
    if (std.mem.eql(u8, path, "/denied")) {
        const body = scratch.text("denied by {s}\n", .{configuration});
        const pairs = scratch.pairsOf(&.{.{ "x-tour", "denied" }});
        const details = "tour_denied";
        _ = abi.proxy_send_local_response(403, details, details.len, body.ptr, body.len, pairs.ptr, pairs.len, abi.no_grpc_status);
        return .pause;
    }
    const in = scratch.header(.request_headers, "x-in");
    setHeader(.request_headers, "x-out", scratch.text("{s}({s})", .{ configuration, in }));
    _ = abi.proxy_add_header_map_value(.request_headers, "x-many", "x-many".len, "c", 1);
    setHeader(.request_headers, "x-pairs", scratch.valuesOf(.request_headers, "x-many"));
    removeHeader(.request_headers, "x-remove");
    removeHeader(.request_headers, "content-length");
    if (std.mem.eql(u8, path, "/asked")) return ask(&scratch, context);
    return if (std.mem.eql(u8, path, "/later")) wait(context) else .proceed;
}

fn wait(context: u32) abi.Action {
    later = context;
    _ = abi.proxy_set_tick_period_milliseconds(1);
    return .pause;
}

fn ask(scratch: *Scratch, context: u32) abi.Action {
    const pairs = scratch.pairsOf(&.{
        .{ ":method", "POST" }, .{ ":path", "/question" }, .{ ":authority", "asked.test" }, .{ "x-tour", "asks" },
    });
    const question = "question";
    var token: u32 = 0;
    const status = abi.proxy_http_call("up", "up".len, pairs.ptr, pairs.len, question, question.len, null, 0, timeout_ms, &token);
    if (status != .ok) return .proceed;
    waiting.put(allocator, token, context) catch return .proceed;
    return .pause;
}

export fn proxy_on_http_call_response(_: u32, token: u32, _: u32, _: usize, _: u32) void {
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    const entry = waiting.fetchRemove(token) orelse return;
    const answer = scratch.text("{s} {s} {s}", .{
        scratch.header(.callout_headers, ":status"),
        scratch.header(.callout_headers, "x-by"),
        scratch.buffer(.callout_body),
    });
    if (abi.proxy_set_effective_context(entry.value) != .ok) return; // the client has left
    setHeader(.request_headers, "x-answer", answer);
    _ = abi.proxy_continue_stream(.request);
}

export fn proxy_on_request_body(_: u32, size: usize, end: u32) abi.Action {
    if (end == 0) return .pause;
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    const body = scratch.buffer(.request_body);
    const upper = std.ascii.allocUpperString(scratch.arena.allocator(), body) catch @panic("out of memory");
    const changed = scratch.text("{s}: {s}", .{ configuration, upper });
    _ = abi.proxy_set_buffer_bytes(.request_body, 0, size, changed.ptr, changed.len);
    return .proceed;
}

export fn proxy_on_response_headers(_: u32, _: u32, _: u32) abi.Action {
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    setHeader(.response_headers, "x-status", scratch.header(.response_headers, ":status"));
    removeHeader(.response_headers, "x-internal");
    removeHeader(.response_headers, "content-length");
    return .proceed;
}

export fn proxy_on_response_body(_: u32, size: usize, end: u32) abi.Action {
    if (end == 0) return .pause;
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    const more = scratch.text(" and {s}", .{configuration});
    _ = abi.proxy_set_buffer_bytes(.response_body, size, 0, more.ptr, more.len);
    return .proceed;
}

export fn proxy_on_log(_: u32) void {
    var scratch: Scratch = .{};
    defer scratch.arena.deinit();
    var count: u64 = 0;
    _ = abi.proxy_get_metric(requests, &count);
    scratch.say("log {s} requests={d}", .{ scratch.header(.response_headers, ":status"), count });
}
