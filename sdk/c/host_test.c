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

int main(void) {
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
