//! Protobuf's wire format, for the code that weft module generate writes: structs
//! whose table `weft_fields` says what their fields are. Lists are of
//! std.ArrayListUnmanaged, maps are lists of entries. Fields that a message does not
//! have are dropped. Memory is that of the arena of the call.

const std = @import("std");
const weft = @import("weft.zig");

pub const Kind = enum { int32, int64, uint32, uint64, sint32, sint64, bool, @"enum", fixed32, sfixed32, float, fixed64, sfixed64, double, string, bytes, message };

/// How a field is there: plain when it is not zero, may when it is not null, which
/// messages always are. Entry is that of a map.
pub const Form = enum { plain, may, list, @"packed", entry };

pub const Field = struct { name: []const u8, num: u32, kind: Kind, form: Form = .plain, oneof: u32 = 0 };

/// How deep messages may lie in each other.
pub const depth_max = 100;

const Wrong = error{ Truncated, NumberTooLong, NoField, NoText, TooDeep, OutOfMemory };

/// Reads a message; bytes that are none are invalid_argument.
pub fn decode(ctx: *weft.Context, comptime T: type, data: []const u8) weft.Error!T {
    var m = T{};
    var r = Reader{ .rest = data, .arena = ctx.arena };
    r.message(T, &m, 0) catch |err| {
        const why = switch (err) {
            error.Truncated => "the message ends in the middle of a field",
            error.NumberTooLong => "a number has more than 64 bits",
            error.NoField => "a field has no valid number or type",
            error.NoText => "a string is not UTF-8",
            error.TooDeep => "messages lie more than 100 deep in each other",
            error.OutOfMemory => return error.OutOfMemory,
        };
        return ctx.fail(.invalid_argument, try ctx.print("{s}: {s}", .{ T.weft_name, why }));
    };
    return m;
}

/// The encoding of a message.
pub fn encode(ctx: *weft.Context, m: anytype) weft.Error![]const u8 {
    var out = std.ArrayList(u8).init(ctx.arena);
    try write(&out, @TypeOf(m), &m);
    return out.items;
}

fn wireOf(kind: Kind) u3 {
    return switch (kind) {
        .string, .bytes, .message => 2,
        .fixed64, .sfixed64, .double => 1,
        .fixed32, .sfixed32, .float => 5,
        else => 0,
    };
}

const Reader = struct {
    rest: []const u8,
    arena: std.mem.Allocator,

    fn varint(r: *Reader) Wrong!u64 {
        var v: u64 = 0;
        for (r.rest, 0..) |b, i| {
            if (i == 9 and b > 1) return error.NumberTooLong;
            v |= @as(u64, b & 0x7f) << @intCast(7 * i);
            if (b < 0x80) {
                r.rest = r.rest[i + 1 ..];
                return v;
            }
        }
        return error.Truncated;
    }

    fn cut(r: *Reader, n: u64) Wrong![]const u8 {
        if (n > r.rest.len) return error.Truncated;
        const at: usize = @intCast(n);
        defer r.rest = r.rest[at..];
        return r.rest[0..at];
    }

    fn body(r: *Reader) Wrong![]const u8 {
        return r.cut(try r.varint());
    }

    fn number(r: *Reader, wire: u3) Wrong!u64 {
        return switch (wire) {
            0 => r.varint(),
            1 => std.mem.readIntLittle(u64, (try r.cut(8))[0..8]),
            else => std.mem.readIntLittle(u32, (try r.cut(4))[0..4]),
        };
    }

    const Tag = struct { num: u32, wire: u3 };

    fn tag(r: *Reader) Wrong!Tag {
        const t = try r.varint();
        if (t >> 3 < 1 or t >> 3 > (1 << 29) - 1 or t & 7 > 5) return error.NoField;
        return .{ .num = @intCast(t >> 3), .wire = @intCast(t & 7) };
    }

    fn skip(r: *Reader, t: Tag, depth: u32) Wrong!void {
        switch (t.wire) {
            2 => _ = try r.body(),
            3 => {
                if (depth > depth_max) return error.TooDeep;
                while (true) {
                    const inner = try r.tag();
                    if (inner.wire == 4 and inner.num == t.num) return;
                    try r.skip(inner, depth + 1);
                }
            },
            4 => return error.NoField,
            else => _ = try r.number(t.wire),
        }
    }

    fn message(r: *Reader, comptime T: type, m: *T, depth: u32) Wrong!void {
        @setEvalBranchQuota(100_000);
        if (depth > depth_max) return error.TooDeep;
        while (r.rest.len > 0) {
            const t = try r.tag();
            var taken = false;
            inline for (T.weft_fields) |f| {
                if (t.num == f.num) taken = try r.field(T, m, f, t.wire, depth);
            }
            if (!taken) try r.skip(t, 0);
        }
    }

    /// Takes a field; false when it is of another type.
    fn field(r: *Reader, comptime T: type, m: *T, comptime f: Field, wire: u3, depth: u32) Wrong!bool {
        const want = comptime wireOf(f.kind);
        const to = &@field(m, f.name);
        switch (f.form) {
            .entry => {
                if (wire != 2) return false;
                const Entry = @TypeOf(to.items[0]);
                var one = Entry{};
                var in = Reader{ .rest = try r.body(), .arena = r.arena };
                try in.message(Entry, &one, depth + 1);
                if (@typeInfo(@TypeOf(one.value)) == .Optional and one.value == null) {
                    one.value = try r.fresh(@TypeOf(one.value)); // an absent message is an empty one
                }
                try to.append(r.arena, one);
            },
            .list, .@"packed" => {
                if (wire == want) {
                    try to.append(r.arena, try r.value(@TypeOf(to.items[0]), f, null, depth));
                } else if (wire == 2 and want != 2) {
                    var in = Reader{ .rest = try r.body(), .arena = r.arena };
                    while (in.rest.len > 0) try to.append(r.arena, try in.value(@TypeOf(to.items[0]), f, null, depth));
                } else return false;
            },
            .plain, .may => {
                if (wire != want) return false;
                to.* = try r.value(@TypeOf(to.*), f, if (f.kind == .message) to.* else null, depth);
                if (f.oneof != 0) inline for (T.weft_fields) |o| { // the others are gone
                    if (o.oneof == f.oneof and o.num != f.num) @field(m, o.name) = null;
                };
            },
        }
        return true;
    }

    fn fresh(r: *Reader, comptime P: type) Wrong!P {
        const T = @typeInfo(@typeInfo(P).Optional.child).Pointer.child;
        const m = try r.arena.create(T);
        m.* = .{};
        return m;
    }

    /// Takes a value of a field of the type V; of a message into the one that is there.
    fn value(r: *Reader, comptime V: type, comptime f: Field, there: anytype, depth: u32) Wrong!V {
        if (f.kind == .message) {
            const P = if (@typeInfo(V) == .Optional) V else ?V;
            var m: P = there;
            if (m == null) m = try r.fresh(P);
            var in = Reader{ .rest = try r.body(), .arena = r.arena };
            try in.message(@TypeOf(m.?.*), m.?, depth + 1);
            return m.?;
        }
        if (f.kind == .string or f.kind == .bytes) {
            const s = try r.body();
            if (f.kind == .string and !std.unicode.utf8ValidateSlice(s)) return error.NoText;
            return s;
        }
        const n = try r.number(comptime wireOf(f.kind));
        const low: u32 = @truncate(n);
        return switch (f.kind) {
            .int32, .sfixed32 => @as(i32, @bitCast(low)),
            .int64, .sfixed64 => @as(i64, @bitCast(n)),
            .uint32, .fixed32 => low,
            .uint64, .fixed64 => n,
            .sint32 => @as(i32, @bitCast(low >> 1)) ^ -@as(i32, @intCast(low & 1)),
            .sint64 => @as(i64, @bitCast(n >> 1)) ^ -@as(i64, @intCast(n & 1)),
            .bool => n != 0,
            .@"enum" => @enumFromInt(@as(i32, @bitCast(low))),
            .float => @as(f32, @bitCast(low)),
            .double => @as(f64, @bitCast(n)),
            else => comptime unreachable,
        };
    }
};

const Out = std.ArrayList(u8);

fn putVarint(out: *Out, n: u64) error{OutOfMemory}!void {
    var v = n;
    while (v >= 0x80) : (v >>= 7) try out.append(@as(u8, @truncate(v)) | 0x80);
    try out.append(@truncate(v));
}

fn putBytes(out: *Out, s: []const u8) error{OutOfMemory}!void {
    try putVarint(out, s.len);
    try out.appendSlice(s);
}

fn putNumber(out: *Out, wire: u3, n: u64) error{OutOfMemory}!void {
    switch (wire) {
        0 => try putVarint(out, n),
        1 => try out.writer().writeIntLittle(u64, n),
        else => try out.writer().writeIntLittle(u32, @as(u32, @truncate(n))),
    }
}

/// The value of a number as it lies in the bytes.
fn bits(comptime kind: Kind, v: anytype) u64 {
    return switch (kind) {
        .int32 => @bitCast(@as(i64, v)),
        .int64, .sfixed64 => @bitCast(v),
        .uint32, .fixed32, .uint64, .fixed64 => v,
        .sfixed32 => @as(u32, @bitCast(v)),
        .sint32 => @as(u32, @bitCast((v << 1) ^ (v >> 31))),
        .sint64 => @bitCast((v << 1) ^ (v >> 63)),
        .bool => @intFromBool(v),
        .@"enum" => @bitCast(@as(i64, @intFromEnum(v))),
        .float => @as(u32, @bitCast(v)),
        .double => @bitCast(v),
        else => comptime unreachable,
    };
}

fn write(out: *Out, comptime T: type, m: *const T) error{OutOfMemory}!void {
    inline for (T.weft_fields) |f| {
        const from = &@field(m, f.name);
        const tag = (f.num << 3) | comptime wireOf(f.kind);
        switch (f.form) {
            .entry => for (from.items) |*one| {
                try putVarint(out, tag);
                try putMessage(out, @TypeOf(one.*), one);
            },
            .list => for (from.items) |v| {
                try putVarint(out, tag);
                try putValue(out, f, v);
            },
            .@"packed" => if (from.items.len > 0) {
                var all = Out.init(out.allocator);
                for (from.items) |v| try putValue(&all, f, v);
                try putVarint(out, (f.num << 3) | 2);
                try putBytes(out, all.items);
            },
            .may => if (from.*) |v| {
                try putVarint(out, tag);
                try putValue(out, f, v);
            },
            .plain => if (if (f.kind == .string or f.kind == .bytes) from.len > 0 else bits(f.kind, from.*) != 0) {
                try putVarint(out, tag);
                try putValue(out, f, from.*);
            },
        }
    }
}

fn putMessage(out: *Out, comptime T: type, m: *const T) error{OutOfMemory}!void {
    var all = Out.init(out.allocator);
    try write(&all, T, m);
    try putBytes(out, all.items);
}

fn putValue(out: *Out, comptime f: Field, v: anytype) error{OutOfMemory}!void {
    switch (f.kind) {
        .message => try putMessage(out, @TypeOf(v.*), v),
        .string, .bytes => try putBytes(out, v),
        else => try putNumber(out, comptime wireOf(f.kind), bits(f.kind, v)),
    }
}

/// The messages of a stream.
pub fn Messages(comptime T: type) type {
    return struct {
        ctx: *weft.Context,

        /// The next message; null after the last.
        pub fn next(s: @This()) weft.Error!?T {
            const data = try s.ctx.recv() orelse return null;
            return try decode(s.ctx, T, data);
        }
    };
}

/// Where the messages of a stream go.
pub fn Sender(comptime T: type) type {
    return struct {
        ctx: *weft.Context,

        /// Sends a message, and waits until there is room for it.
        pub fn send(s: @This(), m: T) weft.Error!void {
            try s.ctx.send(try encode(s.ctx, m));
        }
    };
}

/// Adds a message to the error that the method is going to return.
pub fn addDetail(ctx: *weft.Context, m: anytype) weft.Error!void {
    ctx.addDetail(@TypeOf(m).weft_name, try encode(ctx, m));
}

/// A handler of bytes that runs a method: whether messages come and go in streams,
/// and of which type they are.
pub fn method(comptime In: type, comptime Answer: type, comptime streams_in: bool, comptime streams_out: bool, comptime run: anytype) fn (*weft.Context) anyerror![]const u8 {
    return struct {
        fn call(ctx: *weft.Context) anyerror![]const u8 {
            if (!streams_in and !streams_out) {
                return encode(ctx, @as(Answer, try run(ctx, try decode(ctx, In, ctx.input))));
            }
            const in = Messages(In){ .ctx = ctx };
            const to = Sender(Answer){ .ctx = ctx };
            if (streams_in and streams_out) {
                try run(ctx, in, to);
            } else if (streams_in) {
                try to.send(try run(ctx, in));
            } else {
                try run(ctx, try in.next() orelse return ctx.fail(.invalid_argument, "the request is missing"), to);
            }
            return "";
        }
    }.call;
}
