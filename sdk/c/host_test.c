/* What weft_test.h promises of streams, errors and what a call leaves. */
#include "weft_test.h"

/* echo sends each message back, and fails at the message "stop". */
static uint32_t echo(uint32_t input_len) {
  char room[16];
  (void)input_len;
  weft_set_header("x-kind", WEFT_STR("echo"));
  weft_set_trailer("x-end", WEFT_STR("a"));
  weft_set(WEFT_STR("k"), WEFT_STR("v"));
  weft_publish(WEFT_STR("echoed"), WEFT_STR("1"));
  for (;;) {
    int64_t n = weft_recv(room, sizeof room);
    if (n == -WEFT_OUT_OF_RANGE) return WEFT_OK;
    assert(weft_found(n, sizeof room));
    weft_str m = {room, (uint32_t)n};
    if (weft_equal(m, WEFT_STR("stop"))) {
      weft_add_detail("google.rpc.ErrorInfo", WEFT_STR("\1"));
      return weft_fail(WEFT_ABORTED, "stopped");
    }
    if (weft_send(m)) return weft_failed(WEFT_INTERNAL, "send");
  }
}

static uint32_t twice(uint32_t input_len) {
  (void)input_len;
  weft_send(WEFT_STR("a"));
  return weft_failed(weft_send(WEFT_STR("b")), "send");
}

static uint32_t besides(uint32_t input_len) {
  (void)input_len;
  weft_write(WEFT_STR("x"));
  return weft_send(WEFT_STR("a"));
}

static uint32_t colon(uint32_t input_len) {
  static char room[16];
  weft_write(WEFT_STR("a: "));
  return weft_reply(weft_input(room, sizeof room, input_len));
}

/* edge does what the one digit of its input says. */
static uint32_t edge(uint32_t input_len) {
  static char long_key[1025], large[(1 << 20) + 1], room[16];
  for (uint32_t i = 0; i < sizeof long_key; i++) long_key[i] = 'k';
  weft_str key = {long_key, sizeof long_key}, k = WEFT_STR("k");
  weft_buf b = WEFT_BUF(room);
  switch (*weft_input(room, 1, input_len).ptr) {
    case 'a': weft_get(key, &b); break;
    case 'b': weft_set(WEFT_STR("\xff"), k); break;
    case 'c': return weft_set(k, (weft_str){large, sizeof large});
    case 'd': return weft_set(k, (weft_str){large, 1 << 20});
    case 'e': return weft_publish(WEFT_STR("weft.run.ended"), k);
    case 'f': return weft_publish(WEFT_STR(""), k);
    case 'g': weft_delete(key); break;
    case 'h': weft_call(key, k, &b); break;
    case 'i': for (int i = 0; i < 17; i++) weft_add_detail("a.B", k); break;
    case 'j': weft_add_detail("a.B", (weft_str){large, 16 << 10}); break;
    case 'k': weft_set_header("x", (weft_str){large, 8193}); break;
    case 'l': weft_send_headers(); weft_set_header("x", k); break;
    case 'm': weft_add_detail("", k); break;
    default: weft_set_header("X-Got", weft_header("X-Asked", room, sizeof room));
  }
  return WEFT_OK;
}

static int64_t number(const char *digits) {
  int64_t v;
  return weft_parse_int(weft_cstr(digits), &v) ? v : 7;
}

/* What is refused as weft does, whatever the handler makes of it. */
static void edges(void) {
  static const struct { const char *what; uint32_t code; } cases[] = {
    {"a", WEFT_RESOURCE_EXHAUSTED}, {"b", WEFT_INTERNAL}, {"c", WEFT_RESOURCE_EXHAUSTED}, {"d", WEFT_OK}, {"e", WEFT_INVALID_ARGUMENT},
    {"f", WEFT_INVALID_ARGUMENT}, {"g", WEFT_RESOURCE_EXHAUSTED}, {"h", WEFT_RESOURCE_EXHAUSTED}, {"i", WEFT_RESOURCE_EXHAUSTED},
    {"j", WEFT_RESOURCE_EXHAUSTED}, {"k", WEFT_RESOURCE_EXHAUSTED}, {"l", WEFT_FAILED_PRECONDITION}, {"m", WEFT_INTERNAL}, {"n", WEFT_OK},
  };
  weft_put_entry(&weft_host.headers, "x-asked", "it");
  for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint32_t code;
    weft_test(edge, cases[i].what, &code);
    if (code != cases[i].code) fprintf(stderr, "%s gave %u\n", cases[i].what, code);
    assert(code == cases[i].code);
  }
  assert(weft_equal(weft_value(&weft_host.answer, "x-got"), WEFT_STR("it")));
}

static uint32_t strike(weft_str procedure, weft_str request, weft_buf *answer) {
  (void)procedure;
  if (request.len) return WEFT_OK;
  weft_put(answer, WEFT_STR("not now"));
  return WEFT_ABORTED;
}

/* passes asks a peer, and passes its error on with the details; then it asks one that answers. */
static uint32_t passes(uint32_t input_len) {
  char room[64];
  weft_buf b = WEFT_BUF(room);
  weft_str type, value;
  (void)input_len;
  uint32_t code = weft_call(WEFT_STR("bank/Pay"), WEFT_STR(""), &b);
  for (uint32_t n = 0; !weft_call_detail(n, &b, &type, &value); n++) weft_add_detail(type.ptr, value);
  assert(!weft_call(WEFT_STR("bank/Pay"), WEFT_STR("x"), &b) && weft_call_detail(0, &b, &type, &value) == WEFT_NOT_FOUND);
  return code;
}

int main(void) {
  uint32_t passed;
  weft_host.peer = strike;
  weft_add(&weft_host.refusal, WEFT_STR("a.B"), WEFT_STR("\0\xff"));
  weft_add(&weft_host.refusal, WEFT_STR("a.C"), WEFT_STR(""));
  weft_test(passes, "", &passed);
  assert(passed == WEFT_ABORTED && weft_host.details.len == 2);
  assert(weft_equal(weft_value(&weft_host.details, "a.B"), WEFT_STR("\0\xff")) && weft_value(&weft_host.details, "a.C").ptr);
  edges();
  assert(number("9223372036854775807") == INT64_MAX && number("-9223372036854775808") == INT64_MIN);
  assert(number("9223372036854775808") == 7 && number("-9223372036854775809") == 7 && number("99999999999999999999") == 7 && number("-") == 7);
  weft_str object = WEFT_STR("{\"n\\u0061me\":1,\"\\u043a\":2,\"\xd0\xbb\":3,\"\\\"\":4}");
  assert(weft_equal(weft_json_get(object, "name"), WEFT_STR("1")) && weft_equal(weft_json_get(object, "\xd0\xba"), WEFT_STR("2")));
  assert(weft_equal(weft_json_get(object, "\xd0\xbb"), WEFT_STR("3")) && weft_equal(weft_json_get(object, "\""), WEFT_STR("4")));
  char said[8];
  weft_buf b = WEFT_BUF(said);
  assert(!weft_put_string(&b, WEFT_STR("\"a\xff\"")) && !weft_json_text(WEFT_STR("\"a\xff\"")).len && weft_json_text(WEFT_STR("\"\xd0\xbb\"")).len == 2);
  weft_host.state.len = 0;

  uint32_t code;
  weft_str out = weft_test_stream(echo, (const char *const[]){"a", "stop", "c", NULL}, &code);
  assert(code == WEFT_ABORTED && weft_equal(out, WEFT_STR("stopped")) && weft_host.sent.len == 1);
  assert(weft_equal(weft_value(&weft_host.details, "google.rpc.ErrorInfo"), WEFT_STR("\1")));
  assert(weft_host.state.len == 0 && weft_host.events.len == 0);

  weft_test_stream(echo, (const char *const[]){"a", "", "c", NULL}, NULL);
  assert(weft_host.sent.len == 3 && weft_equal(weft_host.sent.at[2].value, WEFT_STR("c")) && weft_host.details.len == 0);
  assert(weft_equal(weft_value(&weft_host.answer, "x-kind"), WEFT_STR("echo")));
  assert(weft_equal(weft_value(&weft_host.trailers, "x-end"), WEFT_STR("a")));
  assert(weft_equal(weft_value(&weft_host.state, "k"), WEFT_STR("v")) && weft_host.events.len == 1);

  assert(weft_equal(weft_test(echo, "plain", NULL), WEFT_STR("plain")));
  out = weft_test(twice, "", &code);
  assert(code == WEFT_FAILED_PRECONDITION && weft_equal(out, WEFT_STR("send: a call without a stream has one answer, and it has been sent")));
  weft_test(besides, "", &code);
  assert(code == WEFT_INTERNAL);
  assert(weft_equal(weft_test(colon, "b", NULL), WEFT_STR("a: b")));
}
