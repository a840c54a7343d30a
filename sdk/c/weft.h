/* weft.h: handlers for weft in C, without a standard library.
 *
 *   #include "weft.h"
 *
 *   WEFT_HANDLER("greet", greet) {
 *     static char room[1024];
 *     weft_str in = weft_input(room, sizeof room, input_len);
 *     weft_str who = weft_json_get(in, "name");
 *     if (!who.len) return weft_fail(WEFT_INVALID_ARGUMENT, "name is missing");
 *     weft_write(WEFT_STR("{\"hello\":"));
 *     weft_write(who);
 *     weft_write(WEFT_STR("}"));
 *     return WEFT_OK;
 *   }
 *
 * built with
 *
 *   clang --target=wasm32-unknown-unknown -O2 -ffreestanding -fno-builtin -nostdlib \
 *     -Wl,--no-entry -Wl,--strip-all -I sdk/c -o greet.wasm greet.c
 *
 * A handler is a transaction: what it writes and publishes is kept when it
 * returns WEFT_OK and forgotten otherwise. The module imports what it uses and
 * nothing else, so its imports say truly what it can reach.
 */
#ifndef WEFT_H
#define WEFT_H

#include <stddef.h>
#include <stdint.h>

/* The codes of Connect, https://connectrpc.com/docs/protocol#error-codes. */
enum weft_code {
  WEFT_OK, WEFT_CANCELED, WEFT_UNKNOWN, WEFT_INVALID_ARGUMENT, WEFT_DEADLINE_EXCEEDED, WEFT_NOT_FOUND,
  WEFT_ALREADY_EXISTS, WEFT_PERMISSION_DENIED, WEFT_RESOURCE_EXHAUSTED, WEFT_FAILED_PRECONDITION, WEFT_ABORTED,
  WEFT_OUT_OF_RANGE, WEFT_UNIMPLEMENTED, WEFT_INTERNAL, WEFT_UNAVAILABLE, WEFT_DATA_LOSS, WEFT_UNAUTHENTICATED
};

enum weft_level { WEFT_DEBUG, WEFT_INFO, WEFT_WARN, WEFT_ERROR };

/* ---- The imports, as docs/ABI.md has them. An int64_t result is a length, or minus a code; a length over
 * cap wrote nothing, and weft_abi_result reads it. ---- */

#define WEFT_IMPORT(name) __attribute__((import_module("weft/v1"), import_name(name)))

WEFT_IMPORT("input") uint32_t weft_abi_input(void *dst, uint32_t cap, uint32_t offset);
WEFT_IMPORT("output") void weft_abi_output(const void *src, uint32_t len);
WEFT_IMPORT("result") uint32_t weft_abi_result(void *dst, uint32_t cap, uint32_t offset);
WEFT_IMPORT("header_get") int64_t weft_abi_header_get(const char *name, uint32_t name_len, void *dst, uint32_t cap);
WEFT_IMPORT("header_set") void weft_abi_header_set(const char *name, uint32_t name_len, const char *value, uint32_t len);
WEFT_IMPORT("state_get") int64_t weft_abi_state_get(const char *key, uint32_t key_len, void *dst, uint32_t cap);
WEFT_IMPORT("state_set") uint32_t weft_abi_state_set(const char *key, uint32_t key_len, const void *src, uint32_t len);
WEFT_IMPORT("state_delete") uint32_t weft_abi_state_delete(const char *key, uint32_t key_len);
WEFT_IMPORT("publish") uint32_t weft_abi_publish(const char *type, uint32_t type_len, const void *src, uint32_t len);
WEFT_IMPORT("call") int64_t weft_abi_call(const char *procedure, uint32_t procedure_len, const void *src, uint32_t len, void *dst, uint32_t cap);
WEFT_IMPORT("http") int64_t weft_abi_http(const void *src, uint32_t len, void *dst, uint32_t cap);
WEFT_IMPORT("config_get") int64_t weft_abi_config_get(const char *key, uint32_t key_len, void *dst, uint32_t cap);
WEFT_IMPORT("secret_get") int64_t weft_abi_secret_get(const char *name, uint32_t name_len, void *dst, uint32_t cap);
WEFT_IMPORT("recv") int64_t weft_abi_recv(void *dst, uint32_t cap); /* -WEFT_OUT_OF_RANGE after the last message */
WEFT_IMPORT("send") uint32_t weft_abi_send(const void *src, uint32_t len);
WEFT_IMPORT("send_headers") void weft_abi_send_headers(void);
WEFT_IMPORT("trailer_set") void weft_abi_trailer_set(const char *name, uint32_t name_len, const char *value, uint32_t len);
WEFT_IMPORT("error_detail") void weft_abi_error_detail(const char *type, uint32_t type_len, const void *src, uint32_t len);
WEFT_IMPORT("deadline") int64_t weft_abi_deadline(void); /* milliseconds left */
WEFT_IMPORT("log") void weft_abi_log(uint32_t level, const char *text, uint32_t len);

/* WEFT_HANDLER exports a handler; its body sees input_len. */
#define WEFT_HANDLER(export, fn) __attribute__((export_name(export))) uint32_t fn(uint32_t input_len)

/* ---- Strings: a pointer and a length, never owned ---- */

typedef struct {
  const char *ptr;
  uint32_t len;
} weft_str;

#define WEFT_STR(literal) ((weft_str){(literal), sizeof(literal) - 1})

static inline weft_str weft_cstr(const char *s) {
  uint32_t n = 0;
  while (s[n]) n++;
  return (weft_str){s, n};
}

static inline int weft_equal(weft_str a, weft_str b) {
  if (a.len != b.len) return 0;
  for (uint32_t i = 0; i < a.len; i++)
    if (a.ptr[i] != b.ptr[i]) return 0;
  return 1;
}

/* ---- What a call has and reaches ---- */

/* weft_input reads the input into room. Input that does not fit is cut off at
 * cap: compare the length with input_len where that matters. */
static inline weft_str weft_input(void *room, uint32_t cap, uint32_t input_len) {
  uint32_t n = weft_abi_input(room, input_len < cap ? input_len : cap, 0);
  return (weft_str){(const char *)room, n};
}

static inline void weft_write(weft_str s) { weft_abi_output(s.ptr, s.len); }

/* weft_fail answers with an error: return its result. Write nothing before it. */
static inline uint32_t weft_fail(enum weft_code code, const char *message) {
  weft_write(weft_cstr(message));
  return code;
}

/* weft_found says whether n, of a call with an int64_t result, is an answer
 * that fits cap. */
static inline int weft_found(int64_t n, uint32_t cap) { return n >= 0 && n <= (int64_t)cap; }

static inline weft_str weft_header(const char *name, void *room, uint32_t cap) {
  weft_str k = weft_cstr(name);
  int64_t n = weft_abi_header_get(k.ptr, k.len, room, cap);
  return (weft_str){(const char *)room, weft_found(n, cap) ? (uint32_t)n : 0};
}

/* weft_recv waits for the next message. Its result is that of weft_abi_recv: a
 * length, which may be over cap, -WEFT_OUT_OF_RANGE after the last message, or
 * minus another code. */
static inline int64_t weft_recv(void *room, uint32_t cap) { return weft_abi_recv(room, cap); }

/* weft_send waits until there is room for a message. Write nothing besides. */
static inline enum weft_code weft_send(weft_str message) { return (enum weft_code)weft_abi_send(message.ptr, message.len); }

static inline void weft_send_headers(void) { weft_abi_send_headers(); }

/* weft_set_header and weft_set_trailer add a value to one of the answer. */
static inline void weft_set_header(const char *name, weft_str value) {
  weft_str k = weft_cstr(name);
  weft_abi_header_set(k.ptr, k.len, value.ptr, value.len);
}

static inline void weft_set_trailer(const char *name, weft_str value) {
  weft_str k = weft_cstr(name);
  weft_abi_trailer_set(k.ptr, k.len, value.ptr, value.len);
}

/* weft_add_detail adds a protobuf message to the error that the handler is going
 * to return, by its full name. */
static inline void weft_add_detail(const char *type, weft_str value) {
  weft_str k = weft_cstr(type);
  weft_abi_error_detail(k.ptr, k.len, value.ptr, value.len);
}

static inline void weft_log(enum weft_level level, weft_str text) { weft_abi_log(level, text.ptr, text.len); }

/* ---- A buffer that is filled and never overflows: over its end, ok is 0 ---- */

typedef struct {
  char *ptr;
  uint32_t len, cap;
  int ok;
} weft_buf;

#define WEFT_BUF(array) ((weft_buf){(array), 0, sizeof(array), 1})

static inline weft_str weft_text(const weft_buf *b) { return (weft_str){b->ptr, b->len}; }

static inline void weft_put_char(weft_buf *b, char c) {
  if (b->len < b->cap) b->ptr[b->len++] = c;
  else b->ok = 0;
}

static inline void weft_put(weft_buf *b, weft_str s) {
  for (uint32_t i = 0; i < s.len; i++) weft_put_char(b, s.ptr[i]);
}

static inline void weft_put_int(weft_buf *b, int64_t v) {
  char digits[20];
  uint32_t n = 0;
  uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  do digits[n++] = (char)('0' + u % 10);
  while (u /= 10);
  if (v < 0) weft_put_char(b, '-');
  while (n) weft_put_char(b, digits[--n]);
}

/* weft_parse_int reads a decimal integer that is all of s; 0 if it is none or
 * does not fit. */
static inline int weft_parse_int(weft_str s, int64_t *out) {
  uint32_t i = s.len && s.ptr[0] == '-';
  uint64_t v = 0;
  if (i == s.len || s.len - i > 18) return 0;
  for (uint32_t j = i; j < s.len; j++) {
    if (s.ptr[j] < '0' || s.ptr[j] > '9') return 0;
    v = v * 10 + (uint64_t)(s.ptr[j] - '0');
  }
  *out = i ? -(int64_t)v : (int64_t)v;
  return 1;
}

/* ---- JSON: values are found, not parsed. Memory-safe on any bytes; on what is
 * no JSON it finds nothing, or some part of it. ---- */

static inline uint32_t weft_json_space(weft_str s, uint32_t i) {
  while (i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\n' || s.ptr[i] == '\r' || s.ptr[i] == '\t')) i++;
  return i;
}

/* weft_json_end is where the value that starts at i ends. */
static inline uint32_t weft_json_end(weft_str s, uint32_t i) {
  uint32_t depth = 0;
  int quoted = 0;
  for (; i < s.len; i++) {
    char c = s.ptr[i];
    if (quoted) {
      if (c == '\\') i++;
      else if (c == '"') {
        quoted = 0;
        if (!depth) return i + 1;
      }
    } else if (c == '"') quoted = 1;
    else if (c == '{' || c == '[') depth++;
    else if (c == '}' || c == ']') {
      if (!depth) return i;
      if (!--depth) return i + 1;
    } else if (!depth && (c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t')) return i;
  }
  return s.len;
}

/* weft_json_get is the raw value of a key of an object: a string with its
 * quotes, a number, an object ... Its length is 0 when there is none. */
static inline weft_str weft_json_get(weft_str object, const char *key) {
  weft_str want = weft_cstr(key);
  uint32_t i = weft_json_space(object, 0);
  if (i >= object.len || object.ptr[i] != '{') return WEFT_STR("");
  for (i++;;) {
    i = weft_json_space(object, i);
    uint32_t end = weft_json_end(object, i);
    if (end >= object.len || end - i < 2 || object.ptr[i] != '"') return WEFT_STR("");
    weft_str name = {object.ptr + i + 1, end - i - 2};
    i = weft_json_space(object, end);
    if (i >= object.len || object.ptr[i] != ':') return WEFT_STR("");
    i = weft_json_space(object, i + 1);
    end = weft_json_end(object, i);
    if (weft_equal(name, want)) return (weft_str){object.ptr + i, end - i};
    i = weft_json_space(object, end);
    if (i >= object.len || object.ptr[i] != ',') return WEFT_STR("");
    i++;
  }
}

/* weft_json_text is the inside of a raw string that has no escapes; empty for
 * anything else. */
static inline weft_str weft_json_text(weft_str raw) {
  if (raw.len < 2 || raw.ptr[0] != '"' || raw.ptr[raw.len - 1] != '"') return WEFT_STR("");
  for (uint32_t i = 1; i < raw.len - 1; i++)
    if (raw.ptr[i] == '\\') return WEFT_STR("");
  return (weft_str){raw.ptr + 1, raw.len - 2};
}

#endif
