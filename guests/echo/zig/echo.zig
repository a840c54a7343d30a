//! echo in Zig: what each handler does is in ../README.md.
const std = @import("std");
const weft = @import("weft");
const Context = weft.Context;

comptime {
    weft.bytes("noop", noop);
    weft.bytes("echo", echo);
    weft.bytes("loop", loop);
    weft.json("json", greet);
    weft.bytes("fail", fail);
    weft.bytes("headers", headers);
    weft.bytes("state", state);
    weft.bytes("publish", publish);
    weft.bytes("call", call);
    weft.bytes("http", http);
    weft.bytes("config", config);
    weft.bytes("secret", secret);
    weft.bytes("logs", log);
    weft.bytes("deadline", deadline);
    weft.bytes("large", large);
    weft.bytes("allocate", allocate);
    weft.bytes("stream", stream);
    weft.bytes("detail", detail);
}

fn noop(_: *Context) ![]const u8 {
    return "";
}

fn echo(ctx: *Context) ![]const u8 {
    return ctx.input;
}

fn number(ctx: *Context, text: []const u8) !u32 {
    return std.fmt.parseInt(u32, text, 10) catch ctx.fail(.invalid_argument, "the input is no number");
}

fn loop(ctx: *Context) ![]const u8 {
    const n = try number(ctx, ctx.input);
    var h: u32 = 2166136261;
    var i: u32 = 0;
    while (i < n) : (i += 1) h = (h ^ (i & 255)) *% 16777619;
    return ctx.print("{d}", .{h});
}

const Question = struct { name: []const u8 = "", n: i64 = 0 };
const Greeting = struct { greeting: []const u8, next: i64 };

fn greet(ctx: *Context, in: Question) !Greeting {
    if (in.name.len == 0) return ctx.fail(.invalid_argument, "name is missing");
    return .{ .greeting = try ctx.print("hello {s}", .{in.name}), .next = in.n + 1 };
}

fn fail(ctx: *Context) ![]const u8 {
    const at = std.mem.indexOfScalar(u8, ctx.input, ' ') orelse ctx.input.len;
    return ctx.fail(@enumFromInt(try number(ctx, ctx.input[0..at])), ctx.input[@min(at + 1, ctx.input.len)..]);
}

fn headers(ctx: *Context) ![]const u8 {
    const v = try ctx.header("x-name") orelse "";
    ctx.setHeader("x-answer", try ctx.print("hello {s}", .{v}));
    return v;
}

fn state(ctx: *Context) ![]const u8 {
    var words = std.mem.splitScalar(u8, ctx.input, ' ');
    const verb = words.first();
    const key = words.next() orelse return ctx.fail(.invalid_argument, "want a verb and a key");
    if (std.mem.eql(u8, verb, "set")) {
        try ctx.set(key, words.rest());
        return "";
    }
    if (std.mem.eql(u8, verb, "delete")) {
        try ctx.delete(key);
        return "";
    }
    return try ctx.get(key) orelse ctx.fail(.not_found, "state");
}

fn publish(ctx: *Context) ![]const u8 {
    try ctx.publish("echo.published", ctx.input);
    return "";
}

fn call(ctx: *Context) ![]const u8 {
    return ctx.call("peer/echo", ctx.input) catch |err| {
        for (try ctx.callDetails()) |d| ctx.addDetail(d.kind, d.value);
        return err;
    };
}

fn http(ctx: *Context) ![]const u8 {
    const r = try ctx.http(.{ .method = "POST", .url = ctx.input, .headers = &.{.{ .name = "x-a", .value = "b" }}, .body = "ping\x00\xff" });
    return ctx.print("{d} {s} {s}", .{ r.status, r.headers.map.get("x-from") orelse "", r.body });
}

fn config(ctx: *Context) ![]const u8 {
    return try ctx.config(ctx.input) orelse ctx.fail(.not_found, "config");
}

fn secret(ctx: *Context) ![]const u8 {
    return ctx.secret(ctx.input);
}

fn log(ctx: *Context) ![]const u8 {
    for ([_]weft.Level{ .debug, .info, .warn, .@"error" }) |level| ctx.log(level, ctx.input);
    return "";
}

fn deadline(ctx: *Context) ![]const u8 {
    return ctx.print("{d}", .{ctx.remaining()});
}

fn large(ctx: *Context) ![]const u8 {
    const b = try ctx.arena.alloc(u8, try number(ctx, ctx.input));
    for (b, 0..) |*c, i| c.* = 'a' + @as(u8, @intCast(i % 26));
    return b;
}

var calls: u32 = 0;

fn allocate(ctx: *Context) ![]const u8 {
    const b = try ctx.arena.alloc(u8, 64 << 10);
    @memset(b, @as(u8, @truncate(calls)));
    std.mem.doNotOptimizeAway(b);
    calls += 1;
    return ctx.print("{d}", .{calls});
}

fn stream(ctx: *Context) ![]const u8 {
    ctx.setHeader("x-kind", "echo");
    ctx.sendHeaders();
    var messages: u32 = 0;
    while (try ctx.recv()) |m| : (messages += 1) try ctx.send(m);
    ctx.setTrailer("x-messages", try ctx.print("{d}", .{messages}));
    return "";
}

fn detail(ctx: *Context) ![]const u8 {
    ctx.addDetail("google.rpc.ErrorInfo", ctx.input);
    ctx.addDetail("echo.v1.Empty", "");
    return ctx.fail(.failed_precondition, "see the details");
}
