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
