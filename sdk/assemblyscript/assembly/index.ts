/**
 * Handlers for weft in AssemblyScript.
 *
 *     import * as weft from "@weftrun/sdk/assembly";
 *     export { weft_mailbox } from "@weftrun/sdk/assembly";
 *
 *     class Person {
 *       name: string;
 *       constructor(v: weft.Value) { this.name = v.text("name"); }
 *     }
 *
 *     export function greet(n: u32): u32 {
 *       return weft.json<Person>(n, (ctx, person) => {
 *         if (person.name == "") return ctx.fail(weft.Code.InvalidArgument, "name is missing");
 *         return weft.Value.object().set("name", "hello " + person.name);
 *       });
 *     }
 *
 * A handler is a transaction: what it writes and publishes is kept when it ends
 * without an error, and forgotten when it fails.
 */
export { Code, Failure } from "./failure";
export { Kind, Value, depthMax, parse } from "./json";
export { Bytes, decode, encode } from "./bytes";
export { Request, Response } from "./http";
export { Context, Detail, Level, bytes, json, weft_mailbox } from "./context";
