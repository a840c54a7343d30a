// Run by tests/conformance, or: npm test
import assert from "node:assert";
import test from "node:test";
import { Fault, Host } from "../test.mjs";

const host = () => Host.load(process.env.WEFT_TEST_MODULE ?? new URL("sdk.wasm", import.meta.url));

/** The message of an error that has this code. */
function failure(answer, code) {
  assert.equal(answer.code, code);
  return answer.text();
}

test("classes are read from JSON and written to it", async () => {
  const h = await host();
  const order = { items: [{ sku: "a", price: 1.5 }, { sku: "b", price: 2 }], gift: true, tags: ["x", "é😀"] };
  assert.deepEqual(h.call("order", order).json(), order);
  assert.deepEqual(h.call("order", "").json(), { items: [], gift: false, tags: [] });
  assert.deepEqual(h.call("order", { items: null }).json(), { items: [], gift: false, tags: [] });
  for (const [input, message] of [
    [{ items: {} }, "items is an object, want a list"],
    [{ items: [{ price: "2" }] }, "price is a string, want a number"],
    [{ items: [7] }, "an integer where an object with sku is due"],
    [{ tags: [false] }, "it is a boolean, want a string"],
    ["[]", "a list where an object with items is due"],
  ]) assert.equal(failure(h.call("order", input), "invalid_argument"), message);
});

test("JSON comes back as it was", async () => {
  const h = await host();
  for (const text of ["null", "true", "[]", "{}", '""', "0", "-1", "9223372036854775807", "-9223372036854775808", '{"b":[1,{"a":null}],"a":"x"}'])
    assert.equal(h.call("same", ` ${text}\n`).text(), text);
  for (const value of ["\"\\\u0000\u001f\b\f\n\r\t/", "😀 é \u2028", ["a\nb"], 1e300, -0.1, 18446744073709551616])
    assert.deepEqual(h.call("same", JSON.stringify(value)).json(), value);
  assert.equal(h.call("same", '"\\/\\u00e4\\ud83d\\ude00"').json(), "/ä😀");
  assert.equal(h.call("same", '"\\ud83d"').json(), "\ufffd", "half a pair has no UTF-8");
  assert.equal(h.call("same", '{"a":1,"a":2}').text(), '{"a":2}');
  const long = "a\n".repeat(100_000);
  assert.equal(h.call("same", { long }).json().long, long);
  assert.deepEqual(h.call("numbers", "1E2").json(), [100, 255, -9223372036854775808, 18446744073709551615, null, null]);
});

test("what is no JSON is refused with its place", async () => {
  const h = await host();
  for (const [text, message] of [
    ["Ada", "want a value at byte 0"], ["{", "want a name at byte 1"], ['{"a" 1}', "want a colon at byte 5"],
    ['{"a":1', "want a comma or } at byte 6"], ["[1 2]", "want a comma or ] at byte 3"], ["[1,]", "want a value at byte 3"],
    ["01", "want a value at byte 2"], ["-", "want a value at byte 1"], ["1.", "want a digit at byte 2"], ["1e+", "want a digit at byte 3"],
    ["1 2", "more than one value at byte 2"], ['"a', "want the end of a string at byte 2"], ['"\n"', "want the end of a string at byte 1"],
    ['"\\x"', "want an escape at byte 3"], ['"\\u12g4"', "want four hexadecimal digits at byte 5"], ["nul", "want null at byte 3"],
    ["[".repeat(102), "nesting too deep at byte 101"], ["1e400", "a number that is too large at byte 5"],
    [Buffer.from('"a\xffb"', "latin1"), "bytes that are no UTF-8 at byte 4"],
  ]) assert.equal(failure(h.call("same", text), "invalid_argument"), `input is no JSON: ${message}`);
  assert.equal(h.call("same", "[".repeat(100) + "]".repeat(100)).code, "ok");
});

test("the first failure is what the caller gets, and nothing is reached after it", async () => {
  const h = await host();
  h.faults.state_get = new Fault("permission_denied", "not yours");
  h.peer = () => assert.fail("a peer was called");
  const answer = h.call("reserve");
  assert.equal(failure(answer, "permission_denied"), "state key stock: not yours");
  assert.equal(String(answer.details[0].value), "soon");
  assert.deepEqual([h.state.size, h.events], [0, []]);

  h.faults = {};
  h.state.set("stock", '{"left":"many"}');
  assert.equal(failure(h.call("reserve"), "data_loss"), "left is a string, want an integer");
  h.state.set("stock", "{");
  assert.match(failure(h.call("reserve"), "data_loss"), /^state key stock is no JSON/);
});

test("a call that fails leaves nothing, and one that succeeds all of it", async () => {
  const h = await host();
  h.peer = (procedure, request) => ({ procedure, request: String(request) });
  h.state.set("stock", '{"left":0}').set("reserved", "1");
  const answer = h.call("reserve");
  assert.equal(failure(answer, "failed_precondition"), "sold out");
  assert.equal(answer.details[0].type, "google.rpc.RetryInfo");
  assert.deepEqual([String(h.state.get("stock")), h.state.size, h.events], ['{"left":0}', 2, []]);

  h.state.set("stock", '{"left":2}');
  assert.deepEqual(h.call("reserve").json(), { procedure: "prices/get", request: "{}" });
  assert.deepEqual([String(h.state.get("stock")), h.state.size], ['{"left":1}', 1]);
  assert.deepEqual(h.events, [{ type: "stock.changed", data: 1 }]);

  h.peer = () => "no JSON";
  assert.match(failure(h.call("reserve"), "internal"), /^answer of prices\/get is no JSON/);
});

test("a handler recovers from a failure", async () => {
  const h = await host();
  h.peer = () => { throw new Fault("unavailable", "nobody is there"); };
  assert.equal(h.call("either", "x").text(), "nobody");
  assert.deepEqual(h.logs, [{ level: "warn", message: "call of far/away: nobody is there" }]);
  assert.equal(String(h.state.get("seen")), "14");
  h.peer = (_, request) => request;
  assert.equal(h.call("either", "x".repeat(5000)).text(), "x".repeat(5000));
});

test("the error of a call has details", async () => {
  const h = await host();
  const details = [{ type: "a.B", value: Buffer.alloc(2000, 255) }, { type: "a.C", value: Buffer.from([0]) }];
  h.peer = (_, request) => { if (!request.length) throw new Fault("aborted", "not now", details); };
  const answer = h.call("passes");
  assert.equal(failure(answer, "aborted"), "call of bank/Pay: not now");
  assert.deepEqual(answer.details, details);
});

test("messages in and out", async () => {
  const h = await host();
  const answer = h.call("shout", "", { messages: ["a", "", "b".repeat(2000)] });
  assert.deepEqual(answer.messages.map(String), ["A", "", "B".repeat(2000)]);
  assert.deepEqual([answer.headers, answer.trailers], [{ "x-first": "1" }, { "x-last": "a, b" }]);
  assert.equal(h.call("shout", "one").text(), "ONE");
  assert.equal(failure(h.call("twice", "two"), "failed_precondition"), "send: the call is no stream");
  assert.equal(h.call("twice", "two", { messages: [] }).messages.length, 2);
  h.logs = [];
  h.faults.recv = new Fault("canceled", "the caller went away");
  assert.equal(failure(h.call("shout", "one"), "canceled"), "recv: the caller went away");
  assert.deepEqual(h.logs, [], "what failed is no message");
});

test("what ends a call in weft ends it, whatever the handler makes of it", async () => {
  const h = await host();
  for (const [what, code] of [
    ["get", "resource_exhausted"], ["set", "resource_exhausted"], ["delete", "resource_exhausted"], ["config", "resource_exhausted"],
    ["call", "resource_exhausted"], ["header", "resource_exhausted"], ["late header", "failed_precondition"], ["detail", "internal"],
    ["details", "resource_exhausted"], ["17 details", "resource_exhausted"], ["1 MiB", "ok"], ["large", "ok"], ["own event", "ok"],
    ["no type", "ok"], ["large event", "ok"],
  ]) {
    assert.equal(h.call("edge", what).code, code, what);
    assert.deepEqual([h.state.size, h.events], [what === "1 MiB" ? 1 : 0, []], what);
    h.state.clear();
  }
});

test("an input has a buffer of its own length, whatever the one before had", async () => {
  const h = await host();
  for (const input of ["abc", "", "d".repeat(5000), "ef", "g".repeat(5001)]) assert.equal(h.call("buffer", input).text(), input);
});

test("bodies of any length go through base64", async () => {
  const h = await host();
  h.web = ({ method, body }) => ({ status: 200, body: Buffer.concat([Buffer.from(method), body]) });
  for (const n of [0, 1, 2, 3, 255, 256, 257]) {
    const body = Buffer.from(Array.from({ length: n }, (_, i) => i * 7));
    assert.deepEqual(h.call("post", body).body, Buffer.concat([Buffer.from("PUT"), body]));
  }
  h.web = null;
  assert.equal(failure(h.call("post", "x"), "permission_denied"), "request to https://a.example: it was not granted");
});

test("what is thrown is a line of the log and ends the call", async () => {
  const h = await host();
  assert.throws(() => h.call("broken"), WebAssembly.RuntimeError);
  assert.match(h.logs[0].message, /^no way on in .*sdk\.ts:\d+:\d+$/);
  assert.equal(h.state.size, 0);
  assert.equal(h.call("same", "1").text(), "1", "the next call has a new instance");
});
