/* weft_test.h: a host in memory, so that handlers run in a plain C program.
 *
 *   #include "weft_test.h"
 *   #include "greet.c"
 *
 *   int main(void) {
 *     weft_put_entry(&weft_host.config, "greeting", "hello");
 *     weft_str answer = weft_test(greet, "{\"name\":\"Ada\"}", NULL);
 *     assert(weft_equal(answer, WEFT_STR("hello Ada")));
 *   }
 *
 * built with the compiler of this machine: cc -I sdk/c -o greet_test greet_test.c
 *
 * As in weft, a call that fails leaves no write and no event, and names, values and
 * details that are too long, or not what they must be, are refused. Of other limits
 * and of grants there are none. A test is short: nothing is freed.
 */
#ifndef WEFT_TEST_H
#define WEFT_TEST_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

#define WEFT_ENTRIES 256 /* of each list; one more ends the test */

typedef struct {
  weft_str name, value;
} weft_entry;

typedef struct {
  weft_entry at[WEFT_ENTRIES];
  uint32_t len;
} weft_list;

/* Fill it before a call, and look at it after. */
static struct {
  weft_list state, config, secrets, headers; /* headers are those of the next calls, in lower case */
  uint32_t (*peer)(weft_str procedure, weft_str request, weft_buf *answer); /* answers calls with a code; none: not found */
  weft_list refusal;         /* details of each error that peer gives */
  uint32_t (*web)(weft_str request, weft_buf *answer); /* answers plain HTTP, both are JSON; none: not granted */
  int64_t timeout_ms;        /* what a call has left */
  weft_list events;          /* of all calls that succeeded: type and data */
  weft_list answer, trailers; /* of the last answer; a name is there as often as it was set */
  weft_list details;         /* of the last error: type and value */
  weft_list sent;            /* what the last call has sent: values */
  weft_list logs;            /* lines by level */
  const char *const *messages; /* of weft_test_stream, that are to come; NULL ends them */
  int streams, headed, refused;
  uint32_t stopped; /* the code of what has ended the call, whatever its handler returns */
  weft_str why, input, output, kept;
} weft_host = {.timeout_ms = 30000};

static inline weft_str weft_keep(const void *ptr, uint32_t len) {
  char *copy = malloc(len + 1u);
  assert(copy);
  if (len) memcpy(copy, ptr, len);
  copy[len] = 0;
  return (weft_str){copy, len};
}

static inline weft_entry *weft_find(weft_list *l, weft_str name) {
  for (uint32_t i = 0; i < l->len; i++)
    if (weft_equal(l->at[i].name, name)) return &l->at[i];
  return NULL;
}

static inline void weft_add(weft_list *l, weft_str name, weft_str value) {
  assert(l->len < WEFT_ENTRIES);
  l->at[l->len++] = (weft_entry){weft_keep(name.ptr, name.len), weft_keep(value.ptr, value.len)};
}

static inline void weft_replace(weft_list *l, weft_str name, weft_str value) {
  weft_entry *e = weft_find(l, name);
  if (e) e->value = weft_keep(value.ptr, value.len);
  else weft_add(l, name, value);
}

/* weft_put_entry sets a value of a list, such as weft_host.config. */
static inline void weft_put_entry(weft_list *l, const char *name, const char *value) {
  weft_replace(l, weft_cstr(name), weft_cstr(value));
}

/* weft_value is what a list has under a name; its ptr is NULL for nothing. */
static inline weft_str weft_value(weft_list *l, const char *name) {
  weft_entry *e = weft_find(l, weft_cstr(name));
  return e ? e->value : (weft_str){NULL, 0};
}

static inline weft_str weft_run(uint32_t (*handler)(uint32_t), const char *input, uint32_t *code) {
  static weft_list state, events;
  state = weft_host.state;
  events = weft_host.events;
  weft_host.answer.len = weft_host.trailers.len = weft_host.details.len = weft_host.sent.len = 0;
  weft_host.headed = weft_host.refused = 0;
  weft_host.stopped = WEFT_OK;
  weft_host.input = weft_cstr(input);
  weft_host.output = weft_host.kept = WEFT_STR("");
  uint32_t c = handler(weft_host.input.len);
  if (!c && weft_host.output.len && (weft_host.streams || weft_host.sent.len)) {
    weft_host.output = WEFT_STR("the handler sends its messages, and wrote output besides");
    c = WEFT_INTERNAL;
  }
  if (weft_host.stopped) {
    c = weft_host.stopped;
    weft_host.output = weft_host.why;
  }
  if (c) {
    weft_host.state = state;
    weft_host.events = events;
  } else weft_host.details.len = 0;
  if (code) *code = c;
  else if (c) {
    fprintf(stderr, "the handler failed with code %u: %.*s\n", c, (int)weft_host.output.len, weft_host.output.ptr);
    exit(1);
  }
  return !c && !weft_host.streams && weft_host.sent.len ? weft_host.sent.at[0].value : weft_host.output;
}

/* weft_test runs one call and gives the answer, which is the message where the
 * code is not WEFT_OK. code may be NULL: then the call must succeed. */
static inline weft_str weft_test(uint32_t (*handler)(uint32_t), const char *input, uint32_t *code) {
  const char *const message[] = {input, NULL};
  weft_host.messages = message;
  weft_host.streams = 0;
  return weft_run(handler, input, code);
}

/* weft_test_stream runs one call with a stream of messages, which NULL ends. What
 * the handler has sent is in weft_host.sent. */
static inline weft_str weft_test_stream(uint32_t (*handler)(uint32_t), const char *const *messages, uint32_t *code) {
  weft_host.messages = messages;
  weft_host.streams = 1;
  return weft_run(handler, "", code);
}

/* ---- The imports, served from weft_host ---- */

/* Bounds of docs/ABI.md, in bytes but for WEFT_DETAILS_MAX. */
enum { WEFT_NAME_MAX = 1 << 10, WEFT_HEADER_MAX = 8 << 10, WEFT_VALUE_MAX = 1 << 20, WEFT_DETAILS_MAX = 16, WEFT_DETAILS_BYTES_MAX = 16 << 10 };

/* weft_stop ends the call: what its handler returns does not count any more. */
static inline uint32_t weft_stop(uint32_t code, const char *why) {
  if (!weft_host.stopped) {
    weft_host.stopped = code;
    weft_host.why = weft_cstr(why);
  }
  weft_host.kept = WEFT_STR("");
  return code;
}

/* weft_check ends the call for a name or value that is none: a code. */
static inline uint32_t weft_check(const char *ptr, uint32_t len, uint32_t max) {
  if (len > max) return weft_stop(WEFT_RESOURCE_EXHAUSTED, "the handler passed a name or value that is too long");
  if (!weft_is_utf8((weft_str){ptr, len})) return weft_stop(WEFT_INTERNAL, "the handler passed a name or value that is not UTF-8");
  return WEFT_OK;
}

static inline uint32_t weft_deny(uint32_t code, const char *why) {
  weft_host.kept = weft_cstr(why);
  return code;
}

/* weft_lower is a header's name, which may be written in any case. */
static inline weft_str weft_lower(const char *name, uint32_t len) {
  weft_str lower = weft_keep(name, len);
  for (char *c = (char *)(uintptr_t)lower.ptr; *c; c++)
    if (*c >= 'A' && *c <= 'Z') *c += 'a' - 'A';
  return lower;
}

static inline uint32_t weft_part(weft_str s, void *dst, uint32_t cap, uint32_t offset) {
  if (offset >= s.len) return 0;
  uint32_t n = s.len - offset < cap ? s.len - offset : cap;
  memcpy(dst, s.ptr + offset, n);
  return n;
}

static inline int64_t weft_give(uint32_t code, weft_str v, void *dst, uint32_t cap) {
  weft_host.kept = v;
  if (code) return -(int64_t)code;
  if (v.len <= cap && v.len) memcpy(dst, v.ptr, v.len);
  return v.len;
}

static inline int64_t weft_look(weft_list *l, const char *name, uint32_t len, void *dst, uint32_t cap) {
  uint32_t code = weft_check(name, len, WEFT_NAME_MAX);
  if (code) return -(int64_t)code;
  weft_entry *e = weft_find(l, (weft_str){name, len});
  return e ? weft_give(WEFT_OK, e->value, dst, cap) : weft_give(WEFT_NOT_FOUND, WEFT_STR(""), dst, cap);
}

uint32_t weft_abi_input(void *dst, uint32_t cap, uint32_t offset) { return weft_part(weft_host.input, dst, cap, offset); }

void weft_abi_output(const void *src, uint32_t len) {
  char *all = malloc(weft_host.output.len + len + 1u);
  assert(all);
  memcpy(all, weft_host.output.ptr, weft_host.output.len);
  if (len) memcpy(all + weft_host.output.len, src, len);
  all[weft_host.output.len + len] = 0;
  weft_host.output = (weft_str){all, weft_host.output.len + len};
}

uint32_t weft_abi_result(void *dst, uint32_t cap, uint32_t offset) { return weft_part(weft_host.kept, dst, cap, offset); }

int64_t weft_abi_header_get(const char *name, uint32_t len, void *dst, uint32_t cap) {
  return weft_look(&weft_host.headers, weft_lower(name, len).ptr, len, dst, cap);
}

static inline void weft_add_header(weft_list *l, const char *name, uint32_t name_len, const char *value, uint32_t len) {
  if (!weft_check(name, name_len, WEFT_NAME_MAX) && !weft_check(value, len, WEFT_HEADER_MAX))
    weft_add(l, weft_lower(name, name_len), (weft_str){value, len});
}

void weft_abi_header_set(const char *name, uint32_t name_len, const char *value, uint32_t len) {
  if (weft_host.headed) weft_stop(WEFT_FAILED_PRECONDITION, "a header was set when they had been sent");
  else weft_add_header(&weft_host.answer, name, name_len, value, len);
}

void weft_abi_trailer_set(const char *name, uint32_t name_len, const char *value, uint32_t len) {
  weft_add_header(&weft_host.trailers, name, name_len, value, len);
}

int64_t weft_abi_recv(void *dst, uint32_t cap) {
  if (!*weft_host.messages) return weft_give(WEFT_OUT_OF_RANGE, WEFT_STR("there is no further message"), dst, cap);
  return weft_give(WEFT_OK, weft_cstr(*weft_host.messages++), dst, cap);
}

uint32_t weft_abi_send(const void *src, uint32_t len) {
  if (!weft_host.streams && weft_host.sent.len) {
    weft_host.kept = WEFT_STR("a call without a stream has one answer, and it has been sent");
    return WEFT_FAILED_PRECONDITION;
  }
  weft_host.headed = 1;
  weft_add(&weft_host.sent, WEFT_STR(""), (weft_str){src, len});
  return WEFT_OK;
}

void weft_abi_send_headers(void) { weft_host.headed = 1; }

void weft_abi_error_detail(const char *type, uint32_t type_len, const void *src, uint32_t len) {
  uint32_t all = type_len + len;
  for (uint32_t i = 0; i < weft_host.details.len; i++) all += weft_host.details.at[i].name.len + weft_host.details.at[i].value.len;
  if (weft_check(type, type_len, WEFT_NAME_MAX)) return;
  if (!type_len) weft_stop(WEFT_INTERNAL, "a detail has no type");
  if (weft_host.details.len == WEFT_DETAILS_MAX || all > WEFT_DETAILS_BYTES_MAX) weft_stop(WEFT_RESOURCE_EXHAUSTED, "the error has too many details");
  else weft_add(&weft_host.details, (weft_str){type, type_len}, (weft_str){src, len});
}

int64_t weft_abi_state_get(const char *key, uint32_t len, void *dst, uint32_t cap) {
  return weft_look(&weft_host.state, key, len, dst, cap);
}

uint32_t weft_abi_state_set(const char *key, uint32_t key_len, const void *src, uint32_t len) {
  uint32_t code = weft_check(key, key_len, WEFT_NAME_MAX);
  if (code) return code;
  if (len > WEFT_VALUE_MAX) return weft_deny(WEFT_RESOURCE_EXHAUSTED, "the value has more than 1 MiB");
  weft_replace(&weft_host.state, (weft_str){key, key_len}, (weft_str){src, len});
  return WEFT_OK;
}

uint32_t weft_abi_state_delete(const char *key, uint32_t len) {
  weft_entry *e = weft_find(&weft_host.state, (weft_str){key, len});
  if (e) *e = weft_host.state.at[--weft_host.state.len];
  return weft_check(key, len, WEFT_NAME_MAX);
}

uint32_t weft_abi_publish(const char *type, uint32_t type_len, const void *src, uint32_t len) {
  uint32_t code = weft_check(type, type_len, WEFT_NAME_MAX);
  if (code) return code;
  if (!type_len) return weft_deny(WEFT_INVALID_ARGUMENT, "an event must have a type");
  if (type_len >= 5 && !memcmp(type, "weft.", 5)) return weft_deny(WEFT_INVALID_ARGUMENT, "the event's type is one of weft itself");
  if (len > WEFT_VALUE_MAX) return weft_deny(WEFT_RESOURCE_EXHAUSTED, "the event has more than 1 MiB");
  weft_add(&weft_host.events, (weft_str){type, type_len}, (weft_str){src, len});
  return WEFT_OK;
}

#define WEFT_ANSWER_MAX (1u << 20) /* bytes of what a peer or the web answers */

int64_t weft_abi_call(const char *procedure, uint32_t procedure_len, const void *src, uint32_t len, void *dst, uint32_t cap) {
  uint32_t refused = weft_check(procedure, procedure_len, WEFT_NAME_MAX);
  if (refused) return -(int64_t)refused;
  weft_host.refused = 0;
  if (!weft_host.peer) return weft_give(WEFT_NOT_FOUND, WEFT_STR("no such peer"), dst, cap);
  weft_buf b = {malloc(WEFT_ANSWER_MAX), 0, WEFT_ANSWER_MAX, 1};
  uint32_t code = weft_host.peer((weft_str){procedure, procedure_len}, (weft_str){src, len}, &b);
  weft_host.refused = code != WEFT_OK;
  return weft_give(code, weft_text(&b), dst, cap);
}

int64_t weft_abi_call_detail(uint32_t n, void *dst, uint32_t cap) {
  if (!weft_host.refused || n >= weft_host.refusal.len) return weft_give(WEFT_NOT_FOUND, WEFT_STR(""), dst, cap);
  weft_entry *d = &weft_host.refusal.at[n];
  uint32_t at = d->name.len + 1;
  char *all = malloc(at + d->value.len);
  assert(all);
  memcpy(all, d->name.ptr, at); /* with the zero behind it */
  memcpy(all + at, d->value.ptr, d->value.len);
  return weft_give(WEFT_OK, (weft_str){all, at + d->value.len}, dst, cap);
}

int64_t weft_abi_http(const void *src, uint32_t len, void *dst, uint32_t cap) {
  if (!weft_host.web) return weft_give(WEFT_PERMISSION_DENIED, WEFT_STR("not granted"), dst, cap);
  weft_buf b = {malloc(WEFT_ANSWER_MAX), 0, WEFT_ANSWER_MAX, 1};
  uint32_t code = weft_host.web((weft_str){src, len}, &b);
  return weft_give(code, weft_text(&b), dst, cap);
}

int64_t weft_abi_config_get(const char *key, uint32_t len, void *dst, uint32_t cap) {
  return weft_look(&weft_host.config, key, len, dst, cap);
}

int64_t weft_abi_secret_get(const char *name, uint32_t len, void *dst, uint32_t cap) {
  return weft_look(&weft_host.secrets, name, len, dst, cap);
}

int64_t weft_abi_deadline(void) { return weft_host.timeout_ms; }

void weft_abi_log(uint32_t level, const char *text, uint32_t len) {
  static const char *levels[] = {"debug", "info", "warn", "error"};
  weft_add(&weft_host.logs, weft_cstr(levels[level < 3 ? level : 3]), (weft_str){text, len});
}

#endif
