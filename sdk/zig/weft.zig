//! Handlers for weft in Zig 0.11.
//!
//!     const weft = @import("weft");
//!     const Greeting = struct { name: []const u8 = "" };
//!
//!     fn greet(ctx: *weft.Context, in: Greeting) !Greeting {
//!         if (in.name.len == 0) return ctx.fail(.invalid_argument, "name is missing");
//!         return .{ .name = try ctx.print("hello {s}", .{in.name}) };
//!     }
//!     comptime { weft.json("greet", greet); }
//!
//! A handler is a transaction: what it writes and publishes is kept when it
//! returns a value and forgotten when it returns an error. Memory of a call is
//! that of ctx.arena, and is given back before the next.

const std = @import("std");
const wasm = @import("builtin").target.isWasm();

/// Messages of protobuf, for generated code.
pub const wire = @import("wire.zig");

/// The codes of Connect.
pub const Code = enum(u32) { ok, canceled, unknown, invalid_argument, deadline_exceeded, not_found, already_exists, permission_denied, resource_exhausted, failed_precondition, aborted, out_of_range, unimplemented, internal, unavailable, data_loss, unauthenticated, _ };

pub const Level = enum(u32) { debug, info, warn, @"error" };

/// Failed is an error whose code and message the Context keeps.
pub const Error = error{ Failed, OutOfMemory };

pub const Header = struct { name: []const u8, value: []const u8 };

/// A protobuf message that belongs to an error, by its full name.
pub const Detail = struct { kind: []const u8, value: []const u8 };

/// A plain HTTP request, and the answer to it.
pub const Request = struct { method: []const u8 = "GET", url: []const u8, headers: []const Header = &.{}, body: []const u8 = "" };
pub const Response = struct {
    status: u32,
    headers: std.json.ArrayHashMap([]const u8),
    body: []const u8,
};

/// The imports as docs/ABI.md has them; outside Wasm those of Host.
const abi = if (wasm) struct {
    extern "weft/v1" fn input(dst: [*]u8, cap: u32, offset: u32) u32;
    extern "weft/v1" fn output(src: [*]const u8, len: u32) void;
    extern "weft/v1" fn result(dst: [*]u8, cap: u32, offset: u32) u32;
    extern "weft/v1" fn header_get(name: [*]const u8, name_len: u32, dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn header_set(name: [*]const u8, name_len: u32, value: [*]const u8, len: u32) void;
    extern "weft/v1" fn trailer_set(name: [*]const u8, name_len: u32, value: [*]const u8, len: u32) void;
    extern "weft/v1" fn recv(dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn send(src: [*]const u8, len: u32) u32;
    extern "weft/v1" fn send_headers() void;
    extern "weft/v1" fn error_detail(kind: [*]const u8, kind_len: u32, src: [*]const u8, len: u32) void;
    extern "weft/v1" fn state_get(key: [*]const u8, key_len: u32, dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn state_set(key: [*]const u8, key_len: u32, src: [*]const u8, len: u32) u32;
    extern "weft/v1" fn state_delete(key: [*]const u8, key_len: u32) u32;
    extern "weft/v1" fn publish(kind: [*]const u8, kind_len: u32, src: [*]const u8, len: u32) u32;
    extern "weft/v1" fn call(procedure: [*]const u8, procedure_len: u32, src: [*]const u8, len: u32, dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn call_detail(n: u32, dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn http(src: [*]const u8, len: u32, dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn config_get(key: [*]const u8, key_len: u32, dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn secret_get(name: [*]const u8, name_len: u32, dst: [*]u8, cap: u32) i64;
    extern "weft/v1" fn deadline() i64;
    extern "weft/v1" fn log(level: u32, text: [*]const u8, len: u32) void;
} else fake;

fn size(s: []const u8) u32 {
    return @intCast(s.len);
}

/// One call of a handler, and everything it may reach. What it returns is valid
/// until the handler returns.
pub const Context = struct {
    arena: std.mem.Allocator,
    input: []const u8,
    code: Code = .ok, // of the last Failed
    message: []const u8 = "",

    /// Ends the call with an error: `return ctx.fail(.not_found, "no such order")`.
    pub fn fail(ctx: *Context, code: Code, message: []const u8) Error {
        ctx.code = code;
        ctx.message = message;
        return error.Failed;
    }

    pub fn print(ctx: *Context, comptime format: []const u8, args: anytype) Error![]u8 {
        return std.fmt.allocPrint(ctx.arena, format, args);
    }

    /// A header of the call, by its lower-case name.
    pub fn header(ctx: *Context, name: []const u8) Error!?[]const u8 {
        var b = try ctx.room();
        return ctx.optional(b, abi.header_get(name.ptr, size(name), b.ptr, size(b)), name);
    }

    /// Adds a value to a header of the answer.
    pub fn setHeader(_: *Context, name: []const u8, value: []const u8) void {
        abi.header_set(name.ptr, size(name), value.ptr, size(value));
    }

    /// Adds a value to a trailer of the answer.
    pub fn setTrailer(_: *Context, name: []const u8, value: []const u8) void {
        abi.trailer_set(name.ptr, size(name), value.ptr, size(value));
    }

    /// Waits for the next message of the call; null after the last. Of a call
    /// without a stream the input is the only message.
    pub fn recv(ctx: *Context) Error!?[]const u8 {
        var b = try ctx.room();
        const n = abi.recv(b.ptr, size(b));
        if (n == -@as(i64, @intFromEnum(Code.out_of_range))) return null;
        return try ctx.answer(b, n, "recv");
    }

    /// Sends a message, and waits until there is room for it. A call without a
    /// stream has one. Whoever sends returns no output besides.
    pub fn send(ctx: *Context, message: []const u8) Error!void {
        return ctx.status(abi.send(message.ptr, size(message)), "send");
    }

    /// Sends the headers of the answer, which the first send does too. None can be
    /// set afterwards.
    pub fn sendHeaders(_: *Context) void {
        abi.send_headers();
    }

    /// Adds a protobuf message to the error that the handler is going to return,
    /// by its full name such as google.rpc.RetryInfo.
    pub fn addDetail(_: *Context, kind: []const u8, value: []const u8) void {
        abi.error_detail(kind.ptr, size(kind), value.ptr, size(value));
    }

    /// A key of the module's state; null when it is not there.
    pub fn get(ctx: *Context, key: []const u8) Error!?[]const u8 {
        var b = try ctx.room();
        return ctx.optional(b, abi.state_get(key.ptr, size(key), b.ptr, size(b)), key);
    }

    pub fn set(ctx: *Context, key: []const u8, value: []const u8) Error!void {
        return ctx.status(abi.state_set(key.ptr, size(key), value.ptr, size(value)), key);
    }

    pub fn delete(ctx: *Context, key: []const u8) Error!void {
        return ctx.status(abi.state_delete(key.ptr, size(key)), key);
    }

    /// An event with JSON data, sent once the handler has returned a value.
    pub fn publish(ctx: *Context, kind: []const u8, data: []const u8) Error!void {
        return ctx.status(abi.publish(kind.ptr, size(kind), data.ptr, size(data)), kind);
    }

    /// Asks a peer, as in "payments/payments.v1.Payments/Charge".
    pub fn call(ctx: *Context, procedure: []const u8, request: []const u8) Error![]const u8 {
        var b = try ctx.room();
        return ctx.answer(b, abi.call(procedure.ptr, size(procedure), request.ptr, size(request), b.ptr, size(b)), procedure);
    }

    /// The details of the error that the last call gave.
    pub fn callDetails(ctx: *Context) Error![]const Detail {
        var all = std.ArrayList(Detail).init(ctx.arena);
        while (true) {
            var b = try ctx.room();
            const d = try ctx.optional(b, abi.call_detail(@intCast(all.items.len), b.ptr, size(b)), "call_detail") orelse return all.items;
            const end = std.mem.indexOfScalar(u8, d, 0) orelse return all.items;
            try all.append(.{ .kind = d[0..end], .value = d[end + 1 ..] });
        }
    }

    pub fn http(ctx: *Context, r: Request) Error!Response {
        var headers = std.json.ArrayHashMap([]const u8){};
        for (r.headers) |h| try headers.map.put(ctx.arena, h.name, h.value);
        const base64 = std.base64.standard;
        const body = try ctx.arena.alloc(u8, base64.Encoder.calcSize(r.body.len));
        const text = try std.json.stringifyAlloc(ctx.arena, .{ .method = r.method, .url = r.url, .headers = headers, .body = base64.Encoder.encode(body, r.body) }, .{});
        var b = try ctx.room();
        const got = try ctx.answer(b, abi.http(text.ptr, size(text), b.ptr, size(b)), r.url);
        const Wire = struct { status: u32, headers: std.json.ArrayHashMap([]const u8) = .{}, body: ?[]const u8 = null };
        const answered = std.json.parseFromSliceLeaky(Wire, ctx.arena, got, .{ .ignore_unknown_fields = true }) catch return ctx.fail(.internal, "the answer is no HTTP response");
        const coded = answered.body orelse "";
        const plain = try ctx.arena.alloc(u8, base64.Decoder.calcSizeForSlice(coded) catch return ctx.fail(.internal, "the body is no base64"));
        base64.Decoder.decode(plain, coded) catch return ctx.fail(.internal, "the body is no base64");
        return .{ .status = answered.status, .headers = answered.headers, .body = plain };
    }

    /// A configuration value of the module; null when there is none.
    pub fn config(ctx: *Context, key: []const u8) Error!?[]const u8 {
        var b = try ctx.room();
        return ctx.optional(b, abi.config_get(key.ptr, size(key), b.ptr, size(b)), key);
    }

    /// A secret that the module was granted. Do not log it.
    pub fn secret(ctx: *Context, name: []const u8) Error![]const u8 {
        var b = try ctx.room();
        return ctx.answer(b, abi.secret_get(name.ptr, size(name), b.ptr, size(b)), name);
    }

    /// Milliseconds that the call has left.
    pub fn remaining(_: *Context) i64 {
        return abi.deadline();
    }

    pub fn log(_: *Context, level: Level, text: []const u8) void {
        abi.log(@intFromEnum(level), text.ptr, size(text));
    }

    fn room(ctx: *Context) Error![]u8 {
        return ctx.arena.alloc(u8, 512);
    }

    fn answer(ctx: *Context, b: []u8, n: i64, name: []const u8) Error![]const u8 {
        if (n < 0) return ctx.about(@enumFromInt(@as(u32, @intCast(-n))), name);
        if (n <= b.len) return b[0..@intCast(n)];
        const all = try ctx.arena.alloc(u8, @intCast(n));
        return all[0..abi.result(all.ptr, size(all), 0)];
    }

    fn optional(ctx: *Context, b: []u8, n: i64, name: []const u8) Error!?[]const u8 {
        if (n == -@as(i64, @intFromEnum(Code.not_found))) return null;
        return try ctx.answer(b, n, name);
    }

    fn status(ctx: *Context, code: u32, name: []const u8) Error!void {
        if (code != 0) return ctx.about(@enumFromInt(code), name);
    }

    /// The error of the last host call, whose text the host has kept.
    fn about(ctx: *Context, code: Code, name: []const u8) Error {
        var b: [1024]u8 = undefined;
        return ctx.fail(code, try ctx.print("{s}: {s}", .{ name, b[0..abi.result(&b, b.len, 0)] }));
    }
};

const heap = if (wasm) std.heap.wasm_allocator else std.heap.page_allocator;
var memory = std.heap.ArenaAllocator.init(heap);

/// What a call keeps for the next: more is given back.
const kept_max = 1 << 20;

/// Inputs up to this have one room; the memory of a larger one is that of its call.
const input_max = 64 << 10;

/// Where the host puts an input and takes the output, without a call of it:
/// docs/ABI.md.
const Mailbox = extern struct {
    served: u32 = 0,
    room: [*]u8 = undefined,
    room_for: u32 = 0,
    input_len: u32 = 0,
    output: [*]const u8 = undefined,
    output_len: u32 = 0,

    fn open() callconv(.C) *Mailbox {
        _ = grow(1024) catch {};
        return &mailbox;
    }
};
var mailbox = Mailbox{};

comptime {
    if (wasm) @export(Mailbox.open, .{ .name = "weft_mailbox" });
}

fn grow(len: u32) ![]u8 {
    if (len > input_max) return memory.allocator().alloc(u8, len);
    heap.free(mailbox.room[0..mailbox.room_for]);
    mailbox.room_for = 0;
    const room = try heap.alloc(u8, len);
    mailbox.room = room.ptr;
    mailbox.room_for = len;
    return room;
}

fn run(len: u32, comptime serve: fn (*Context) anyerror![]const u8) u32 {
    if (memory.state.end_index > 0) { // the last call has allocated something
        _ = memory.reset(.{ .retain_with_limit = kept_max });
    }
    var ctx = Context{ .arena = memory.allocator(), .input = "" };
    if (len > 0 and len == mailbox.input_len) {
        ctx.input = mailbox.room[0..len];
    } else if (len > 0) {
        const b = if (len <= mailbox.room_for) mailbox.room else (grow(len) catch return @intFromEnum(Code.resource_exhausted)).ptr;
        ctx.input = b[0..abi.input(b, len, 0)];
    }
    var code = Code.ok;
    const out = serve(&ctx) catch |err| failed: {
        const known = err == error.Failed;
        code = if (known) ctx.code else .unknown;
        break :failed if (known) ctx.message else @errorName(err);
    };
    if (out.len > 0 and mailbox.served == 1) {
        mailbox.output = out.ptr;
        mailbox.output_len = size(out);
    } else if (out.len > 0) abi.output(out.ptr, size(out));
    return @intFromEnum(code);
}

/// Exports a handler of bytes: fn (*Context) ![]const u8.
pub fn bytes(comptime name: []const u8, comptime handler: anytype) void {
    const Export = struct {
        fn serve(ctx: *Context) anyerror![]const u8 {
            return handler(ctx);
        }
        fn call(len: u32) callconv(.C) u32 {
            return run(len, serve);
        }
    };
    if (wasm) @export(Export.call, .{ .name = name });
}

/// Exports a handler of JSON: fn (*Context, In) !Out. Input that does not fit In
/// is answered with invalid_argument; none at all is In with its defaults.
pub fn json(comptime name: []const u8, comptime handler: anytype) void {
    const Export = struct {
        fn serve(ctx: *Context) anyerror![]const u8 {
            return typed(ctx, handler);
        }
        fn call(len: u32) callconv(.C) u32 {
            return run(len, serve);
        }
    };
    if (wasm) @export(Export.call, .{ .name = name });
}

fn typed(ctx: *Context, comptime handler: anytype) anyerror![]const u8 {
    const In = @typeInfo(@TypeOf(handler)).Fn.params[1].type.?;
    const text = if (ctx.input.len == 0) "{}" else ctx.input;
    var why = std.json.Diagnostics{};
    var scanner = std.json.Scanner.initCompleteInput(ctx.arena, text);
    scanner.enableDiagnostics(&why);
    const in = std.json.parseFromTokenSourceLeaky(In, ctx.arena, &scanner, .{ .ignore_unknown_fields = true, .duplicate_field_behavior = .use_last }) catch |err|
        return ctx.fail(.invalid_argument, try ctx.print("input: {s} in column {d}", .{ @errorName(err), why.getColumn() }));
    var out = std.ArrayList(u8).init(ctx.arena);
    var w = std.json.writeStreamArbitraryDepth(ctx.arena, out.writer(), .{});
    try put(&w, try handler(ctx, in));
    return out.items;
}

/// Writes JSON. Of std.json an integer of more than 53 bits would be a string, and
/// infinity no JSON.
fn put(w: anytype, v: anytype) anyerror!void {
    const T = @TypeOf(v);
    if (T == std.json.Value) return switch (v) {
        .integer => |n| put(w, n),
        .float => |f| put(w, f),
        .array => |a| put(w, a.items),
        .object => |o| putMap(w, o),
        else => w.write(v),
    };
    switch (@typeInfo(T)) {
        .Int, .ComptimeInt => try w.print("{d}", .{v}),
        .Float => if (std.math.isFinite(v)) try w.write(v) else try w.write(null),
        .Optional => if (v) |some| try put(w, some) else try w.write(null),
        .Struct => |s| {
            const is_map = comptime std.mem.startsWith(u8, @typeName(T), "json.hashmap.ArrayHashMap(");
            if (@hasDecl(T, "jsonStringify")) return if (is_map) putMap(w, v.map) else v.jsonStringify(w);
            if (s.is_tuple) try w.beginArray() else try w.beginObject();
            inline for (s.fields) |f| {
                if (f.type == void) continue;
                if (!s.is_tuple) try w.objectField(f.name);
                try put(w, @field(v, f.name));
            }
            if (s.is_tuple) try w.endArray() else try w.endObject();
        },
        .Union => {
            if (@hasDecl(T, "jsonStringify")) return v.jsonStringify(w);
            try w.beginObject();
            switch (v) {
                inline else => |some, tag| {
                    try w.objectField(@tagName(tag));
                    if (@TypeOf(some) == void) {
                        try w.beginObject();
                        try w.endObject();
                    } else try put(w, some);
                },
            }
            try w.endObject();
        },
        .Array => |a| if (a.child == u8) try w.write(&v) else try put(w, @as([]const a.child, &v)),
        .Pointer => |p| if (p.size == .One and @typeInfo(p.child) != .Array) {
            try put(w, v.*);
        } else if (std.meta.Elem(T) == u8) {
            try w.write(v);
        } else {
            try w.beginArray();
            for (v) |item| try put(w, item);
            try w.endArray();
        },
        else => try w.write(v),
    }
}

fn putMap(w: anytype, map: anytype) anyerror!void {
    try w.beginObject();
    var all = map.iterator();
    while (all.next()) |e| {
        try w.objectField(e.key_ptr.*);
        try put(w, e.value_ptr.*);
    }
    try w.endObject();
}

/// A host in memory for `zig test`: fill its fields, run calls, look at them. As
/// in weft, a call that fails leaves no write and no event, and names, values and
/// details that are too long, or not what they must be, are refused. Of other limits
/// and of grants there are none. Nothing is freed.
pub const Host = struct {
    const Map = std.StringHashMapUnmanaged([]const u8);
    pub const Event = struct { kind: []const u8, data: []const u8 };
    pub const Line = struct { level: Level, text: []const u8 };
    pub const Answer = struct { code: Code = .ok, body: []const u8 = "", details: []const Detail = &.{} };

    state: Map = .{},
    config: Map = .{},
    secrets: Map = .{},
    headers: Map = .{}, // of the next calls, with names in lower case
    peer: ?*const fn (procedure: []const u8, request: []const u8) Answer = null,
    web: ?*const fn (request: []const u8) Answer = null, // JSON in and out, as docs/ABI.md has it
    timeout_ms: i64 = 30_000,
    events: std.ArrayListUnmanaged(Event) = .{}, // of all calls that succeeded
    answer: Map = .{}, // headers of the last answer; several values are joined by ", "
    trailers: Map = .{}, // of the last answer
    details: std.ArrayListUnmanaged(Detail) = .{}, // of the last error
    logs: std.ArrayListUnmanaged(Line) = .{},
    input: []const u8 = "",
    output: std.ArrayListUnmanaged(u8) = .{},
    kept: []const u8 = "",
    refusal: []const Detail = &.{}, // of the last answer of peer
    messages: []const []const u8 = &.{}, // that are to come
    sent: std.ArrayListUnmanaged([]const u8) = .{},
    streams: bool = false,
    headed: bool = false,
    stopped: ?Answer = null, // what has ended the call, whatever its handler returns

    /// Runs one call of a handler of bytes or of JSON.
    pub fn call(h: *Host, comptime handler: anytype, input: []const u8) !Answer {
        h.streams = false;
        const answer = try h.once(handler, input, &.{input});
        return if (answer.code == .ok and h.sent.items.len > 0) .{ .body = h.sent.items[0] } else answer;
    }

    /// Runs one call of a handler with a stream of messages. What it has sent, up to
    /// its error if there is one, is in sent.
    pub fn stream(h: *Host, comptime handler: anytype, messages: []const []const u8) !Answer {
        h.streams = true;
        return h.once(handler, "", messages);
    }

    fn once(h: *Host, comptime handler: anytype, input: []const u8, messages: []const []const u8) !Answer {
        const Run = struct {
            fn serve(ctx: *Context) anyerror![]const u8 {
                return if (@typeInfo(@TypeOf(handler)).Fn.params.len == 2) typed(ctx, handler) else handler(ctx);
            }
        };
        host = h;
        const state = try h.state.clone(fake.gpa);
        const events = h.events.items.len;
        h.answer = .{};
        h.trailers = .{};
        h.details = .{};
        h.output = .{};
        h.sent = .{};
        h.headed = false;
        h.stopped = null;
        h.refusal = &.{};
        h.kept = "";
        h.input = input;
        h.messages = messages;
        var answer = Answer{ .code = @enumFromInt(run(size(input), Run.serve)) };
        answer.body = h.output.items;
        if (answer.code == .ok and answer.body.len > 0 and (h.streams or h.sent.items.len > 0))
            answer = .{ .code = .internal, .body = "the handler sends its messages, and wrote output besides" };
        if (h.stopped) |why| answer = why;
        if (answer.code == .ok) {
            h.details = .{};
        } else {
            h.state = state;
            h.events.shrinkRetainingCapacity(events);
        }
        return answer;
    }
};

var host: *Host = undefined;

const fake = struct {
    const gpa = std.heap.page_allocator;

    // Bounds of docs/ABI.md, in bytes but for details_max.
    const name_max = 1 << 10;
    const header_max = 8 << 10;
    const value_max = 1 << 20;
    const details_max = 16;
    const details_bytes_max = 16 << 10;

    fn copy(p: [*]const u8, n: u32) []const u8 {
        return gpa.dupe(u8, p[0..n]) catch @panic("out of memory");
    }
    fn part(s: []const u8, dst: [*]u8, cap: u32, offset: u32) u32 {
        if (offset >= s.len) return 0;
        const n = @min(s.len - offset, cap);
        @memcpy(dst[0..n], s[offset..][0..n]);
        return @intCast(n);
    }
    fn give(a: Host.Answer, dst: [*]u8, cap: u32) i64 {
        host.kept = a.body;
        if (a.code != .ok) return -@as(i64, @intFromEnum(a.code));
        if (a.body.len <= cap) @memcpy(dst[0..a.body.len], a.body);
        return @intCast(a.body.len);
    }
    /// Ends the call: what its handler returns does not count any more.
    fn stop(code: Code, text: []const u8) Code {
        if (host.stopped == null) host.stopped = .{ .code = code, .body = text };
        return code;
    }
    fn check(name: []const u8, max: usize) Code {
        if (name.len > max) return stop(.resource_exhausted, "the handler passed a name or value that is too long");
        if (!std.unicode.utf8ValidateSlice(name)) return stop(.internal, "the handler passed a name or value that is not UTF-8");
        return .ok;
    }
    fn lower(name: []const u8) []const u8 {
        return std.ascii.allocLowerString(gpa, name) catch @panic("out of memory");
    }
    fn refuse(code: Code, why: []const u8) u32 {
        host.kept = why;
        return @intFromEnum(code);
    }
    fn look(m: Host.Map, k: []const u8, dst: [*]u8, cap: u32) i64 {
        const code = check(k, name_max);
        if (code != .ok) return give(.{ .code = code }, dst, cap);
        return give(if (m.get(k)) |v| .{ .body = v } else .{ .code = .not_found }, dst, cap);
    }
    fn input(dst: [*]u8, cap: u32, offset: u32) u32 {
        return part(host.input, dst, cap, offset);
    }
    fn output(p: [*]const u8, n: u32) void {
        host.output.appendSlice(gpa, p[0..n]) catch @panic("out of memory");
    }
    fn result(dst: [*]u8, cap: u32, offset: u32) u32 {
        return part(host.kept, dst, cap, offset);
    }
    fn header_get(k: [*]const u8, kn: u32, dst: [*]u8, cap: u32) i64 {
        return look(host.headers, lower(k[0..kn]), dst, cap);
    }
    fn add(m: *Host.Map, name: []const u8, v: []const u8) void {
        if (check(name, name_max) != .ok or check(v, header_max) != .ok) return;
        const k = lower(name);
        const values = if (m.get(k)) |old| std.fmt.allocPrint(gpa, "{s}, {s}", .{ old, v }) catch @panic("out of memory") else copy(v.ptr, size(v));
        m.put(gpa, k, values) catch @panic("out of memory");
    }
    fn header_set(k: [*]const u8, kn: u32, v: [*]const u8, n: u32) void {
        if (host.headed) _ = stop(.failed_precondition, "setHeader was called when the headers had been sent") else add(&host.answer, k[0..kn], v[0..n]);
    }
    fn trailer_set(k: [*]const u8, kn: u32, v: [*]const u8, n: u32) void {
        add(&host.trailers, k[0..kn], v[0..n]);
    }
    fn recv(dst: [*]u8, cap: u32) i64 {
        if (host.messages.len == 0) return give(.{ .code = .out_of_range, .body = "there is no further message" }, dst, cap);
        defer host.messages = host.messages[1..];
        return give(.{ .body = host.messages[0] }, dst, cap);
    }
    fn send(p: [*]const u8, n: u32) u32 {
        if (!host.streams and host.sent.items.len > 0) {
            host.kept = "a call without a stream has one answer, and it has been sent";
            return @intFromEnum(Code.failed_precondition);
        }
        host.headed = true;
        host.sent.append(gpa, copy(p, n)) catch @panic("out of memory");
        return 0;
    }
    fn send_headers() void {
        host.headed = true;
    }
    fn error_detail(k: [*]const u8, kn: u32, v: [*]const u8, n: u32) void {
        var all: usize = kn + n;
        for (host.details.items) |d| all += d.kind.len + d.value.len;
        if (check(k[0..kn], name_max) != .ok) return;
        if (kn == 0) _ = stop(.internal, "a detail has no type");
        if (host.details.items.len == details_max or all > details_bytes_max) _ = stop(.resource_exhausted, "the error has too many details");
        host.details.append(gpa, .{ .kind = copy(k, kn), .value = copy(v, n) }) catch @panic("out of memory");
    }
    fn state_get(k: [*]const u8, kn: u32, dst: [*]u8, cap: u32) i64 {
        return look(host.state, k[0..kn], dst, cap);
    }
    fn state_set(k: [*]const u8, kn: u32, v: [*]const u8, n: u32) u32 {
        const code = check(k[0..kn], name_max);
        if (code != .ok) return @intFromEnum(code);
        if (n > value_max) return refuse(.resource_exhausted, "the value has more than 1 MiB");
        host.state.put(gpa, copy(k, kn), copy(v, n)) catch @panic("out of memory");
        return 0;
    }
    fn state_delete(k: [*]const u8, kn: u32) u32 {
        _ = host.state.remove(k[0..kn]);
        return @intFromEnum(check(k[0..kn], name_max));
    }
    fn publish(k: [*]const u8, kn: u32, v: [*]const u8, n: u32) u32 {
        const code = check(k[0..kn], name_max);
        if (code != .ok) return @intFromEnum(code);
        if (kn == 0) return refuse(.invalid_argument, "an event must have a type");
        if (std.mem.startsWith(u8, k[0..kn], "weft.")) return refuse(.invalid_argument, "the event's type is one of weft itself");
        if (n > value_max) return refuse(.resource_exhausted, "the event has more than 1 MiB");
        host.events.append(gpa, .{ .kind = copy(k, kn), .data = copy(v, n) }) catch @panic("out of memory");
        return 0;
    }
    fn call(k: [*]const u8, kn: u32, v: [*]const u8, n: u32, dst: [*]u8, cap: u32) i64 {
        const code = check(k[0..kn], name_max);
        if (code != .ok) return give(.{ .code = code }, dst, cap);
        host.refusal = &.{};
        const peer = host.peer orelse return give(.{ .code = .not_found, .body = "no such peer" }, dst, cap);
        const answer = peer(k[0..kn], v[0..n]);
        host.refusal = answer.details;
        return give(answer, dst, cap);
    }
    fn call_detail(n: u32, dst: [*]u8, cap: u32) i64 {
        if (n >= host.refusal.len) return give(.{ .code = .not_found }, dst, cap);
        const d = host.refusal[n];
        return give(.{ .body = std.mem.concat(gpa, u8, &.{ d.kind, "\x00", d.value }) catch @panic("out of memory") }, dst, cap);
    }
    fn http(v: [*]const u8, n: u32, dst: [*]u8, cap: u32) i64 {
        const web = host.web orelse return give(.{ .code = .permission_denied, .body = "not granted" }, dst, cap);
        return give(web(v[0..n]), dst, cap);
    }
    fn config_get(k: [*]const u8, kn: u32, dst: [*]u8, cap: u32) i64 {
        return look(host.config, k[0..kn], dst, cap);
    }
    fn secret_get(k: [*]const u8, kn: u32, dst: [*]u8, cap: u32) i64 {
        return look(host.secrets, k[0..kn], dst, cap);
    }
    fn deadline() i64 {
        return host.timeout_ms;
    }
    fn log(level: u32, p: [*]const u8, n: u32) void {
        host.logs.append(gpa, .{ .level = @enumFromInt(level), .text = copy(p, n) }) catch @panic("out of memory");
    }
};
