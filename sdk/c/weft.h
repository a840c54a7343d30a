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

#ifdef __wasm__
#define WEFT_IMPORT(name) __attribute__((import_module("weft/v1"), import_name(name)))
#else
#define WEFT_IMPORT(name) /* weft_test.h has it */
#endif

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
WEFT_IMPORT("call_detail") int64_t weft_abi_call_detail(uint32_t n, void *dst, uint32_t cap);
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

/* WEFT_HANDLER exports a handler; its body sees input_len. Outside Wasm it is a
 * plain function, for weft_test.h. */
#ifdef __wasm__
#define WEFT_HANDLER(export, fn) __attribute__((export_name(export))) uint32_t fn(uint32_t input_len)
#else
#define WEFT_HANDLER(export, fn) uint32_t fn(uint32_t input_len)
#endif

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

/* weft_is_utf8 says whether s is a text. */
static inline int weft_is_utf8(weft_str s) {
  for (uint32_t i = 0; i < s.len;) {
    uint8_t b = (uint8_t)s.ptr[i++];
    uint32_t more = b < 0x80 ? 0 : b >= 0xc2 && b < 0xe0 ? 1 : b >= 0xe0 && b < 0xf0 ? 2 : b >= 0xf0 && b < 0xf5 ? 3 : 4;
    if (more == 4 || more > s.len - i) return 0;
    for (uint32_t j = 0; j < more; j++) {
      uint8_t c = (uint8_t)s.ptr[i++];
      if ((c & 0xc0) != 0x80) return 0;
      if (!j && ((b == 0xe0 && c < 0xa0) || (b == 0xed && c > 0x9f) || (b == 0xf0 && c < 0x90) || (b == 0xf4 && c > 0x8f))) return 0;
    }
  }
  return 1;
}

/* ---- The mailbox of docs/ABI.md: where the host puts an input and takes an output, without a call of it ---- */

static struct {
  uint32_t served;
  void *room;
  uint32_t room_for, input_len;
  const void *output;
  uint32_t output_len;
} weft_mail;

/* WEFT_MAILBOX(array), once in a module and outside of functions, has the host put
 * inputs into an array before it calls: weft_input into that array is faster then,
 * and so is weft_reply. Read the input before the array is used for anything else. */
#ifdef __wasm__
#define WEFT_MAILBOX(array) \
  __attribute__((export_name("weft_mailbox"))) void *weft_mailbox(void) { \
    weft_mail.room = (array); \
    weft_mail.room_for = sizeof(array); \
    return &weft_mail; \
  }
#else
#define WEFT_MAILBOX(array) /* weft_test.h has none */
#endif

/* ---- What a call has and reaches ---- */

/* weft_input reads the input into room. Input that does not fit is cut off at
 * cap: compare the length with input_len where that matters. */
static inline weft_str weft_input(void *room, uint32_t cap, uint32_t input_len) {
  uint32_t n = input_len < cap ? input_len : cap;
  if (room != weft_mail.room || n != weft_mail.input_len) n = weft_abi_input(room, n, 0);
  weft_mail.input_len = 0; /* the next time it is read anew */
  return (weft_str){(const char *)room, n};
}

static inline void weft_write(weft_str s) { weft_abi_output(s.ptr, s.len); }

/* weft_reply writes the last of an answer, which must lie in what outlives the
 * handler: no array of its stack. Return its result. */
static inline uint32_t weft_reply(weft_str s) {
  if (weft_mail.served) {
    weft_mail.output = s.ptr;
    weft_mail.output_len = s.len;
  } else weft_write(s);
  return WEFT_OK;
}

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

/* weft_failed answers with the code of a host call that just failed, with what
 * it was about and what the host says of it: return its result. */
static inline uint32_t weft_failed(uint32_t code, const char *what) {
  char text[1024];
  weft_write(weft_cstr(what));
  uint32_t n = weft_abi_result(text, sizeof text, 0);
  if (n) weft_write(WEFT_STR(": "));
  weft_write((weft_str){text, n});
  return code;
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
  if (i == s.len || s.len - i > 19) return 0;
  for (uint32_t j = i; j < s.len; j++) {
    if (s.ptr[j] < '0' || s.ptr[j] > '9') return 0;
    v = v * 10 + (uint64_t)(s.ptr[j] - '0');
  }
  if (v > (uint64_t)INT64_MAX + i) return 0;
  *out = (int64_t)(i ? 0 - v : v);
  return 1;
}

/* ---- State, events and the outside. Each gives a code: WEFT_OK, that of the
 * host, or WEFT_OUT_OF_RANGE for an answer that does not fit what is free of the
 * buffer; weft_abi_result reads such an answer in parts. What is not there is
 * WEFT_NOT_FOUND. ---- */

static inline uint32_t weft_answer(weft_buf *b, int64_t n) {
  if (n < 0) return (uint32_t)-n;
  if (n > (int64_t)(b->cap - b->len)) return WEFT_OUT_OF_RANGE;
  b->len += (uint32_t)n;
  return WEFT_OK;
}

static inline uint32_t weft_get(weft_str key, weft_buf *value) {
  return weft_answer(value, weft_abi_state_get(key.ptr, key.len, value->ptr + value->len, value->cap - value->len));
}

static inline uint32_t weft_set(weft_str key, weft_str value) {
  return weft_abi_state_set(key.ptr, key.len, value.ptr, value.len);
}

static inline uint32_t weft_delete(weft_str key) { return weft_abi_state_delete(key.ptr, key.len); }

/* weft_publish sends an event with JSON data, once the handler has returned WEFT_OK. */
static inline uint32_t weft_publish(weft_str type, weft_str data) {
  return weft_abi_publish(type.ptr, type.len, data.ptr, data.len);
}

/* weft_call asks a peer, as in "payments/payments.v1.Payments/Charge". */
static inline uint32_t weft_call(weft_str procedure, weft_str request, weft_buf *answer) {
  return weft_answer(answer, weft_abi_call(procedure.ptr, procedure.len, request.ptr, request.len,
                                           answer->ptr + answer->len, answer->cap - answer->len));
}

/* weft_call_detail is a detail, from 0 on, of the error that the last weft_call gave:
 * its type, behind which is a zero, and its bytes; both lie in b. WEFT_NOT_FOUND is
 * after the last. */
static inline uint32_t weft_call_detail(uint32_t n, weft_buf *b, weft_str *type, weft_str *value) {
  uint32_t at = b->len, code = weft_answer(b, weft_abi_call_detail(n, b->ptr + at, b->cap - at)), end = at;
  if (code) return code;
  while (end + 1 < b->len && b->ptr[end]) end++;
  *type = (weft_str){b->ptr + at, end - at};
  *value = (weft_str){b->ptr + end + 1, b->len - end - 1};
  return WEFT_OK;
}

/* weft_http sends a request of weft_put_request. The answer is an object with
 * status, headers and body, whose inside weft_put_decoded reads. */
static inline uint32_t weft_http(weft_str request, weft_buf *answer) {
  return weft_answer(answer, weft_abi_http(request.ptr, request.len, answer->ptr + answer->len, answer->cap - answer->len));
}

static inline uint32_t weft_config(weft_str key, weft_buf *value) {
  return weft_answer(value, weft_abi_config_get(key.ptr, key.len, value->ptr + value->len, value->cap - value->len));
}

/* weft_secret reads a secret that the module was granted. Do not log it. */
static inline uint32_t weft_secret(weft_str name, weft_buf *value) {
  return weft_answer(value, weft_abi_secret_get(name.ptr, name.len, value->ptr + value->len, value->cap - value->len));
}

/* weft_remaining is how many milliseconds the call has left. */
static inline int64_t weft_remaining(void) { return weft_abi_deadline(); }

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

static inline int weft_put_string(weft_buf *b, weft_str raw);

/* weft_json_says says whether a raw string is this text. One with escapes that says
 * more than 256 bytes is none. */
static inline int weft_json_says(weft_str raw, weft_str text) {
  weft_str inside = {raw.ptr + 1, raw.len - 2};
  uint32_t i = 0;
  while (i < inside.len && inside.ptr[i] != '\\') i++;
  if (i == inside.len) return weft_equal(inside, text);
  char said[256];
  weft_buf b = WEFT_BUF(said);
  return weft_put_string(&b, raw) && b.ok && weft_equal(weft_text(&b), text);
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
    weft_str name = {object.ptr + i, end - i};
    i = weft_json_space(object, end);
    if (i >= object.len || object.ptr[i] != ':') return WEFT_STR("");
    i = weft_json_space(object, i + 1);
    end = weft_json_end(object, i);
    if (weft_json_says(name, want)) return (weft_str){object.ptr + i, end - i};
    i = weft_json_space(object, end);
    if (i >= object.len || object.ptr[i] != ',') return WEFT_STR("");
    i++;
  }
}

/* weft_json_text is the inside of a raw string that has no escapes; empty for
 * anything else. */
static inline weft_str weft_json_text(weft_str raw) {
  if (raw.len < 2 || raw.ptr[0] != '"' || raw.ptr[raw.len - 1] != '"' || !weft_is_utf8(raw)) return WEFT_STR("");
  for (uint32_t i = 1; i < raw.len - 1; i++)
    if (raw.ptr[i] == '\\') return WEFT_STR("");
  return (weft_str){raw.ptr + 1, raw.len - 2};
}

/* weft_hex is four hex digits of s from i on, or -1. */
static inline int32_t weft_hex(weft_str s, uint32_t i) {
  int32_t v = 0;
  if (i + 4 > s.len) return -1;
  for (uint32_t j = i; j < i + 4; j++) {
    char c = s.ptr[j];
    if (c >= '0' && c <= '9') v = v * 16 + c - '0';
    else if (c >= 'a' && c <= 'f') v = v * 16 + c - 'a' + 10;
    else if (c >= 'A' && c <= 'F') v = v * 16 + c - 'A' + 10;
    else return -1;
  }
  return v;
}

static inline void weft_put_rune(weft_buf *b, uint32_t r) {
  if (r < 0x80) {
    weft_put_char(b, (char)r);
    return;
  }
  if (r >= 0x10000) {
    weft_put_char(b, (char)(0xf0 | r >> 18));
    weft_put_char(b, (char)(0x80 | (r >> 12 & 0x3f)));
  } else if (r >= 0x800) weft_put_char(b, (char)(0xe0 | r >> 12));
  if (r >= 0x800) weft_put_char(b, (char)(0x80 | (r >> 6 & 0x3f)));
  else weft_put_char(b, (char)(0xc0 | r >> 6));
  weft_put_char(b, (char)(0x80 | (r & 0x3f)));
}

/* weft_put_string adds what a raw JSON string says, without quotes and escapes;
 * 0 if it is no such string. */
static inline int weft_put_string(weft_buf *b, weft_str raw) {
  if (raw.len < 2 || raw.ptr[0] != '"' || raw.ptr[raw.len - 1] != '"' || !weft_is_utf8(raw)) return 0;
  weft_str in = {raw.ptr, raw.len - 1};
  for (uint32_t i = 1; i < in.len; i++) {
    if (in.ptr[i] != '\\') {
      weft_put_char(b, in.ptr[i]);
      continue;
    }
    if (++i == in.len) return 0;
    switch (in.ptr[i]) {
      case 'b': weft_put_char(b, '\b'); break;
      case 'f': weft_put_char(b, '\f'); break;
      case 'n': weft_put_char(b, '\n'); break;
      case 'r': weft_put_char(b, '\r'); break;
      case 't': weft_put_char(b, '\t'); break;
      case '"': case '\\': case '/': weft_put_char(b, in.ptr[i]); break;
      case 'u': {
        int32_t r = weft_hex(in, i + 1), low = -1;
        if (r < 0) return 0;
        i += 4;
        if (r >= 0xd800 && r < 0xdc00 && i + 2 < in.len && in.ptr[i + 1] == '\\' && in.ptr[i + 2] == 'u') low = weft_hex(in, i + 3);
        if (low >= 0xdc00 && low < 0xe000) {
          r = 0x10000 + ((r - 0xd800) << 10) + (low - 0xdc00);
          i += 6;
        } else if (r >= 0xd800 && r < 0xe000) r = 0xfffd; /* half a pair */
        weft_put_rune(b, (uint32_t)r);
        break;
      }
      default: return 0;
    }
  }
  return 1;
}

/* weft_put_json adds text as a JSON string, with quotes and escapes. */
static inline void weft_put_json(weft_buf *b, weft_str text) {
  static const char hex[] = "0123456789abcdef";
  weft_put_char(b, '"');
  for (uint32_t i = 0; i < text.len; i++) {
    char c = text.ptr[i];
    if (c == '"' || c == '\\') {
      weft_put_char(b, '\\');
      weft_put_char(b, c);
    } else if ((unsigned char)c < 0x20) {
      weft_put(b, WEFT_STR("\\u00"));
      weft_put_char(b, hex[c >> 4]);
      weft_put_char(b, hex[c & 15]);
    } else weft_put_char(b, c);
  }
  weft_put_char(b, '"');
}

/* ---- Requests of weft_http ---- */

/* weft_put_base64 adds bytes as a JSON string in base64. */
static inline void weft_put_base64(weft_buf *b, weft_str bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  weft_put_char(b, '"');
  for (uint32_t i = 0; i < bytes.len; i += 3) {
    uint32_t v = 0, left = bytes.len - i;
    for (uint32_t j = 0; j < 3; j++) v = v << 8 | (j < left ? (unsigned char)bytes.ptr[i + j] : 0);
    for (uint32_t j = 0; j < 4; j++) weft_put_char(b, j <= left ? digits[v >> (18 - 6 * j) & 63] : '=');
  }
  weft_put_char(b, '"');
}

/* weft_put_decoded adds the bytes of a raw JSON string in base64; 0 if it is no
 * such string. Where there is none, as in an answer without a body, it adds nothing. */
static inline int weft_put_decoded(weft_buf *b, weft_str raw) {
  if (!raw.len || weft_equal(raw, WEFT_STR("null"))) return 1;
  weft_str in = weft_json_text(raw);
  uint32_t v = 0, bits = 0;
  if (in.len % 4 || in.len + 2 != raw.len) return 0;
  for (uint32_t i = 0; i < in.len && in.ptr[i] != '='; i++) {
    char c = in.ptr[i];
    uint32_t six = c >= 'A' && c <= 'Z' ? (uint32_t)(c - 'A') : c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a') + 26
                 : c >= '0' && c <= '9' ? (uint32_t)(c - '0') + 52 : c == '+' ? 62 : c == '/' ? 63 : 64;
    if (six == 64) return 0;
    v = v << 6 | six;
    if ((bits += 6) < 8) continue;
    bits -= 8;
    weft_put_char(b, (char)(v >> bits));
  }
  return 1;
}

/* weft_put_request adds a request for weft_http. headers is an object in JSON,
 * or empty. */
static inline void weft_put_request(weft_buf *b, weft_str method, weft_str url, weft_str headers, weft_str body) {
  weft_put(b, WEFT_STR("{\"method\":"));
  weft_put_json(b, method);
  weft_put(b, WEFT_STR(",\"url\":"));
  weft_put_json(b, url);
  if (headers.len) {
    weft_put(b, WEFT_STR(",\"headers\":"));
    weft_put(b, headers);
  }
  weft_put(b, WEFT_STR(",\"body\":"));
  weft_put_base64(b, body);
  weft_put_char(b, '}');
}

#endif
