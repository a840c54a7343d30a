// The imports as docs/ABI.md has them. A module has those that it uses.

@external("weft/v1", "input") export declare function input(dst: usize, cap: u32, offset: u32): u32;
@external("weft/v1", "output") export declare function output(src: usize, len: u32): void;
@external("weft/v1", "result") export declare function result(dst: usize, cap: u32, offset: u32): u32;
@external("weft/v1", "header_get") export declare function header_get(name: usize, nameLen: u32, dst: usize, cap: u32): i64;
@external("weft/v1", "header_set") export declare function header_set(name: usize, nameLen: u32, value: usize, len: u32): void;
@external("weft/v1", "trailer_set") export declare function trailer_set(name: usize, nameLen: u32, value: usize, len: u32): void;
@external("weft/v1", "recv") export declare function recv(dst: usize, cap: u32): i64;
@external("weft/v1", "send") export declare function send(src: usize, len: u32): u32;
@external("weft/v1", "send_headers") export declare function send_headers(): void;
@external("weft/v1", "error_detail") export declare function error_detail(type: usize, typeLen: u32, src: usize, len: u32): void;
@external("weft/v1", "state_get") export declare function state_get(key: usize, keyLen: u32, dst: usize, cap: u32): i64;
@external("weft/v1", "state_set") export declare function state_set(key: usize, keyLen: u32, src: usize, len: u32): u32;
@external("weft/v1", "state_delete") export declare function state_delete(key: usize, keyLen: u32): u32;
@external("weft/v1", "publish") export declare function publish(type: usize, typeLen: u32, src: usize, len: u32): u32;
@external("weft/v1", "call") export declare function call(procedure: usize, procedureLen: u32, src: usize, len: u32, dst: usize, cap: u32): i64;
@external("weft/v1", "call_detail") export declare function call_detail(n: u32, dst: usize, cap: u32): i64;
@external("weft/v1", "http") export declare function http(src: usize, len: u32, dst: usize, cap: u32): i64;
@external("weft/v1", "config_get") export declare function config_get(key: usize, keyLen: u32, dst: usize, cap: u32): i64;
@external("weft/v1", "secret_get") export declare function secret_get(name: usize, nameLen: u32, dst: usize, cap: u32): i64;
@external("weft/v1", "deadline") export declare function deadline(): i64;
@external("weft/v1", "log") export declare function log(level: u32, src: usize, len: u32): void;
