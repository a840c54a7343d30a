//! What Host promises of streams, errors and what a call leaves.
const std = @import("std");
const weft = @import("weft.zig");
const Context = weft.Context;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;

/// Sends each message back, and fails at the message "stop".
fn echo(ctx: *Context) ![]const u8 {
    ctx.setHeader("x-kind", "echo");
    ctx.setTrailer("x-end", "a");
    ctx.setTrailer("x-end", "b");
    try ctx.set("k", "v");
    try ctx.publish("echoed", "1");
    while (try ctx.recv()) |m| {
        if (std.mem.eql(u8, m, "stop")) {
            ctx.addDetail("google.rpc.ErrorInfo", "\x01");
            return ctx.fail(.aborted, "stopped");
        }
        try ctx.send(m);
    }
    return "";
}

test "a stream is received and sent" {
    var host = weft.Host{};
    try expectEqual(weft.Code.ok, (try host.stream(echo, &.{ "a", "", "c" })).code);
    try expectEqual(@as(usize, 3), host.sent.items.len);
    try expectEqualStrings("c", host.sent.items[2]);
    try expectEqualStrings("echo", host.answer.get("x-kind").?);
    try expectEqualStrings("a, b", host.trailers.get("x-end").?);
    try expectEqualStrings("v", host.state.get("k").?);
    try expectEqualStrings("plain", (try host.call(echo, "plain")).body);
}

test "a stream that fails leaves its error, with details, and nothing else" {
    var host = weft.Host{};
    const answer = try host.stream(echo, &.{ "a", "stop", "c" });
    try expectEqual(weft.Code.aborted, answer.code);
    try expectEqualStrings("stopped", answer.body);
    try expectEqual(@as(usize, 1), host.sent.items.len);
    try expectEqualStrings("google.rpc.ErrorInfo", host.details.items[0].kind);
    try expectEqualStrings("\x01", host.details.items[0].value);
    try expect(host.state.count() == 0 and host.events.items.len == 0);
    _ = try host.call(echo, "plain");
    try expectEqual(@as(usize, 0), host.details.items.len);
}

fn twice(ctx: *Context) ![]const u8 {
    try ctx.send("a");
    try ctx.send("b");
    return "";
}

fn besides(ctx: *Context) ![]const u8 {
    try ctx.send("a");
    return "x";
}

test "a call without a stream has one answer" {
    var host = weft.Host{};
    const answer = try host.call(twice, "");
    try expectEqual(weft.Code.failed_precondition, answer.code);
    try expectEqualStrings("send: a call without a stream has one answer, and it has been sent", answer.body);
    try expectEqual(weft.Code.internal, (try host.call(besides, "")).code);
}

const Inner = struct { n: i64 = 0, list: []const u64 = &.{}, f: f64 = 0, maybe: ?u128 = null, word: []const u8 = "", kind: enum { small, large } = .small };
const Outer = struct { inner: Inner = .{}, any: std.json.Value = .null, map: std.json.ArrayHashMap(i64) = .{} };

fn same(_: *Context, in: Outer) !Outer {
    return in;
}

const Choice = union(enum) { n: i64, none: void, list: []const i64 };

fn chooses(_: *Context, in: struct { n: i64 }) ![]const Choice {
    const list = try std.heap.page_allocator.dupe(i64, &.{in.n});
    return std.heap.page_allocator.dupe(Choice, &.{ .{ .n = in.n }, .none, .{ .list = list } });
}

const Own = struct {
    map: []const u8,
    pub fn jsonStringify(self: Own, w: anytype) !void {
        try w.write(self.map);
    }
};

fn owns(_: *Context, _: struct {}) !Own {
    return .{ .map = "x" };
}

test "a union has numbers too, and a type its own JSON" {
    var host = weft.Host{};
    try expectEqualStrings("[{\"n\":9007199254740993},{\"none\":{}},{\"list\":[9007199254740993]}]", (try host.call(chooses, "{\"n\":9007199254740993}")).body);
    try expectEqualStrings("\"x\"", (try host.call(owns, "{}")).body);
}

test "numbers of JSON stay numbers" {
    var host = weft.Host{};
    for ([_][2][]const u8{
        .{ "\"inner\":{\"n\":9007199254740993}", "\"n\":9007199254740993" },
        .{ "\"inner\":{\"n\":-9223372036854775808,\"n\":1}", "\"n\":1," },
        .{ "\"inner\":{\"list\":[1,18446744073709551615]}", "\"list\":[1,18446744073709551615]" },
        .{ "\"inner\":{\"maybe\":9007199254740993}", "\"maybe\":9007199254740993" },
        .{ "\"inner\":{\"f\":1e400}", "\"f\":null" },
        .{ "\"inner\":{\"word\":\"\\u00e9\",\"kind\":\"large\"}", "\"word\":\"é\",\"kind\":\"large\"" },
        .{ "\"any\":{\"a\":[9007199254740993,null,\"x\"]}", "\"any\":{\"a\":[9007199254740993,null,\"x\"]}" },
        .{ "\"map\":{\"ключ\":9007199254740993}", "\"map\":{\"ключ\":9007199254740993}" },
    }) |c| {
        const answer = try host.call(same, try std.fmt.allocPrint(std.heap.page_allocator, "{{{s}}}", .{c[0]}));
        if (std.mem.indexOf(u8, answer.body, c[1]) == null) std.debug.print("{s} gave {s}\n", .{ c[0], answer.body });
        try expect(answer.code == .ok and std.mem.indexOf(u8, answer.body, c[1]) != null);
    }
}

fn edge(ctx: *Context) ![]const u8 {
    const long = "k" ** 1025;
    const case = std.fmt.parseInt(u8, ctx.input, 10) catch unreachable;
    switch (case) {
        0 => _ = ctx.get(long) catch null,
        1 => ctx.set("\xff", "v") catch {},
        2 => try ctx.set("k", try ctx.arena.alloc(u8, (1 << 20) + 1)),
        3 => try ctx.set("k", try ctx.arena.alloc(u8, 1 << 20)),
        4 => try ctx.publish("weft.run.ended", "{}"),
        5 => try ctx.publish("", "{}"),
        6 => ctx.delete(long) catch {},
        7 => _ = ctx.call(long, "") catch "",
        8 => for (0..17) |_| ctx.addDetail("a.B", ""),
        9 => ctx.addDetail("a.B", try ctx.arena.alloc(u8, 16 << 10)),
        10 => ctx.setHeader("x", "v" ** 8193),
        11 => {
            ctx.sendHeaders();
            ctx.setHeader("x", "v");
        },
        12 => ctx.addDetail("", ""),
        else => {
            ctx.setHeader("X-Got", (try ctx.header("X-Asked")) orelse "nothing");
        },
    }
    return "";
}

test "names and values are refused as weft does, whatever the handler makes of it" {
    for ([_]weft.Code{ .resource_exhausted, .internal, .resource_exhausted, .ok, .invalid_argument, .invalid_argument, .resource_exhausted, .resource_exhausted, .resource_exhausted, .resource_exhausted, .resource_exhausted, .failed_precondition, .internal, .ok }, 0..) |want, case| {
        var host = weft.Host{};
        try host.headers.put(std.heap.page_allocator, "x-asked", "it");
        const answer = try host.call(edge, try std.fmt.allocPrint(std.heap.page_allocator, "{d}", .{case}));
        if (answer.code != want) std.debug.print("case {d} gave {any}: {s}\n", .{ case, answer.code, answer.body });
        try expectEqual(want, answer.code);
        if (case == 13) try expectEqualStrings("it", host.answer.get("x-got").?);
    }
}

fn strike(_: []const u8, request: []const u8) weft.Host.Answer {
    if (request.len > 0) return .{};
    return .{ .code = .aborted, .body = "not now", .details = &.{ .{ .kind = "a.B", .value = "\x00\xff" ** 300 }, .{ .kind = "a.C", .value = "" } } };
}

fn passes(ctx: *Context) ![]const u8 {
    _ = ctx.call("bank/Pay", "") catch |err| {
        const code = ctx.code;
        for (try ctx.callDetails()) |d| ctx.addDetail(d.kind, d.value);
        _ = try ctx.call("bank/Pay", "x");
        try expectEqual(@as(usize, 0), (try ctx.callDetails()).len);
        ctx.code = code;
        return err;
    };
    return "";
}

test "the error of a call has details" {
    var host = weft.Host{ .peer = strike };
    try expectEqual(weft.Code.aborted, (try host.call(passes, "")).code);
    try expectEqual(@as(usize, 2), host.details.items.len);
    try expectEqualStrings("\x00\xff" ** 300, host.details.items[0].value);
    try expectEqualStrings("a.C", host.details.items[1].kind);
}
