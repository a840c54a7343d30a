/* echo in C: what each handler does is in ../README.md. */
#include "weft.h"

static char input_room[64 << 10], answer_room[64 << 10], text_room[64 << 10];

WEFT_MAILBOX(input_room)

static weft_str read_input(uint32_t len) { return weft_input(input_room, sizeof input_room, len); }

WEFT_HANDLER("noop", noop) {
  (void)input_len;
  return WEFT_OK;
}

/* echo needs no room for all of a long input: it reads it in parts. */
WEFT_HANDLER("echo", echo) {
  if (input_len <= sizeof input_room) return weft_reply(read_input(input_len));
  for (uint32_t at = 0, n; at < input_len; at += n) {
    n = weft_abi_input(input_room, sizeof input_room, at);
    weft_write((weft_str){input_room, n});
  }
  return WEFT_OK;
}

static uint32_t answer_int(int64_t v) {
  weft_buf b = WEFT_BUF(answer_room);
  weft_put_int(&b, v);
  return weft_reply(weft_text(&b));
}

static uint32_t fail(uint32_t code, weft_str message) {
  weft_write(message);
  return code;
}

static uint32_t no_number(void) { return weft_fail(WEFT_INVALID_ARGUMENT, "the input is no number"); }

WEFT_HANDLER("loop", loop) {
  int64_t n;
  if (!weft_parse_int(read_input(input_len), &n)) return no_number();
  uint32_t h = 2166136261u;
  for (uint32_t i = 0; i < (uint32_t)n; i++) h = (h ^ (i & 255)) * 16777619u;
  return answer_int(h);
}

WEFT_HANDLER("json", json) {
  weft_str in = read_input(input_len);
  int64_t n = 0;
  weft_buf name = WEFT_BUF(text_room), b = WEFT_BUF(answer_room);
  weft_str raw = weft_json_get(in, "n");
  if (in.len && in.ptr[0] != '{') return weft_fail(WEFT_INVALID_ARGUMENT, "the input is no JSON object");
  if (raw.len && !weft_parse_int(raw, &n)) return weft_fail(WEFT_INVALID_ARGUMENT, "n is no number");
  if (!weft_put_string(&name, weft_json_get(in, "name")) || !name.len) return weft_fail(WEFT_INVALID_ARGUMENT, "name is missing");
  weft_buf greeting = {text_room + name.len, 0, sizeof text_room - name.len, 1};
  weft_put(&greeting, WEFT_STR("hello "));
  weft_put(&greeting, weft_text(&name));
  weft_put(&b, WEFT_STR("{\"greeting\":"));
  weft_put_json(&b, weft_text(&greeting));
  weft_put(&b, WEFT_STR(",\"next\":"));
  weft_put_int(&b, n + 1);
  weft_put_char(&b, '}');
  return weft_reply(weft_text(&b));
}

/* word cuts the next word off s. */
static weft_str word(weft_str *s) {
  uint32_t n = 0;
  while (n < s->len && s->ptr[n] != ' ') n++;
  weft_str w = {s->ptr, n};
  if (n < s->len) n++;
  *s = (weft_str){s->ptr + n, s->len - n};
  return w;
}

WEFT_HANDLER("fail", fail_as_told) {
  weft_str in = read_input(input_len);
  int64_t code;
  if (!weft_parse_int(word(&in), &code)) return no_number();
  return fail((uint32_t)code, in);
}

WEFT_HANDLER("headers", headers) {
  (void)input_len;
  weft_str v = weft_header("x-name", text_room, sizeof text_room);
  weft_buf b = WEFT_BUF(answer_room);
  weft_put(&b, WEFT_STR("hello "));
  weft_put(&b, v);
  weft_set_header("x-answer", weft_text(&b));
  return weft_reply(v);
}

/* done answers with what a host call gave. */
static uint32_t done(uint32_t code, const weft_buf *b, const char *what) {
  return code ? weft_failed(code, what) : weft_reply(weft_text(b));
}

WEFT_HANDLER("state", state) {
  weft_str in = read_input(input_len), verb = word(&in), key = word(&in);
  weft_buf b = WEFT_BUF(answer_room);
  if (weft_equal(verb, WEFT_STR("set"))) return done(weft_set(key, in), &b, "state");
  if (weft_equal(verb, WEFT_STR("delete"))) return done(weft_delete(key), &b, "state");
  return done(weft_get(key, &b), &b, "state");
}

WEFT_HANDLER("publish", publish) {
  weft_buf none = WEFT_BUF(answer_room);
  return done(weft_publish(WEFT_STR("echo.published"), read_input(input_len)), &none, "publish");
}

/* call reads an answer of any length, in parts. */
WEFT_HANDLER("call", call) {
  weft_str to = WEFT_STR("peer/echo"), in = read_input(input_len);
  int64_t n = weft_abi_call(to.ptr, to.len, in.ptr, in.len, answer_room, sizeof answer_room);
  if (n < 0) {
    uint32_t code = weft_failed((uint32_t)-n, "call");
    weft_buf b = WEFT_BUF(answer_room);
    weft_str type, value;
    for (uint32_t i = 0; !weft_call_detail(i, &b, &type, &value); i++) weft_add_detail(type.ptr, value);
    return code;
  }
  if (weft_found(n, sizeof answer_room)) return weft_reply((weft_str){answer_room, (uint32_t)n});
  for (uint32_t at = 0, got; at < n; at += got) {
    got = weft_abi_result(answer_room, sizeof answer_room, at);
    weft_write((weft_str){answer_room, got});
  }
  return WEFT_OK;
}

WEFT_HANDLER("http", http) {
  weft_buf request = WEFT_BUF(text_room), answer = WEFT_BUF(answer_room), b = WEFT_BUF(text_room);
  weft_str body = {"ping\0\xff", 6};
  weft_put_request(&request, WEFT_STR("POST"), read_input(input_len), WEFT_STR("{\"x-a\":\"b\"}"), body);
  uint32_t code = weft_http(weft_text(&request), &answer);
  if (code) return weft_failed(code, "http");
  weft_str res = weft_text(&answer);
  weft_put(&b, weft_json_get(res, "status"));
  weft_put_char(&b, ' ');
  weft_put_string(&b, weft_json_get(weft_json_get(res, "headers"), "x-from"));
  weft_put_char(&b, ' ');
  if (!weft_put_decoded(&b, weft_json_get(res, "body"))) return weft_fail(WEFT_INTERNAL, "the body is no base64");
  return weft_reply(weft_text(&b));
}

WEFT_HANDLER("config", config) {
  weft_buf b = WEFT_BUF(answer_room);
  return done(weft_config(read_input(input_len), &b), &b, "config");
}

WEFT_HANDLER("secret", secret) {
  weft_buf b = WEFT_BUF(answer_room);
  return done(weft_secret(read_input(input_len), &b), &b, "secret");
}

WEFT_HANDLER("logs", log_all) {
  weft_str in = read_input(input_len);
  for (int level = WEFT_DEBUG; level <= WEFT_ERROR; level++) weft_log((enum weft_level)level, in);
  return WEFT_OK;
}

WEFT_HANDLER("deadline", deadline) {
  (void)input_len;
  return answer_int(weft_remaining());
}

WEFT_HANDLER("large", large) {
  int64_t n;
  if (!weft_parse_int(read_input(input_len), &n)) return no_number();
  for (int64_t at = 0;;) {
    weft_buf b = WEFT_BUF(answer_room);
    for (; at < n && b.len < b.cap; at++) weft_put_char(&b, (char)('a' + at % 26));
    if (at >= n) return weft_reply(weft_text(&b));
    weft_write(weft_text(&b));
  }
}

/* allocate has no allocator: it uses a room of the size that the others allocate. */
WEFT_HANDLER("allocate", allocate) {
  static int64_t calls;
  (void)input_len;
  for (uint32_t i = 0; i < sizeof text_room; i++) text_room[i] = (char)(calls + i);
  return answer_int(++calls);
}

WEFT_HANDLER("stream", stream) {
  (void)input_len;
  weft_set_header("x-kind", WEFT_STR("echo"));
  weft_send_headers();
  for (int64_t messages = 0;; messages++) {
    int64_t n = weft_recv(answer_room, sizeof answer_room);
    if (n == -WEFT_OUT_OF_RANGE) {
      weft_buf b = WEFT_BUF(text_room);
      weft_put_int(&b, messages);
      weft_set_trailer("x-messages", weft_text(&b));
      return WEFT_OK;
    }
    if (n < 0) return weft_failed((uint32_t)-n, "recv");
    if (!weft_found(n, sizeof answer_room)) return weft_fail(WEFT_RESOURCE_EXHAUSTED, "the message is too long");
    uint32_t code = weft_send((weft_str){answer_room, (uint32_t)n});
    if (code) return weft_failed(code, "send");
  }
}

WEFT_HANDLER("detail", detail) {
  weft_add_detail("google.rpc.ErrorInfo", read_input(input_len));
  weft_add_detail("echo.v1.Empty", WEFT_STR(""));
  return weft_fail(WEFT_FAILED_PRECONDITION, "see the details");
}
