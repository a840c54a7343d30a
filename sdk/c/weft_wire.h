/* weft_wire.h: protobuf's wire format by tables, for the code that weft module
 * generate writes. A message is a plain struct; what it points to lies in an
 * arena, and its strings where it was decoded from. Fields that a message does
 * not have are dropped.
 */
#ifndef WEFT_WIRE_H
#define WEFT_WIRE_H

#include "weft.h"

/* ---- An arena: memory that is given back all at once ---- */

typedef struct {
  char *ptr;
  uint32_t len, cap;
} weft_arena;

#define WEFT_ARENA(array) ((weft_arena){(array), 0, sizeof(array)})

/* weft_alloc is n bytes of zeros, or NULL when there is no room. */
static inline void *weft_alloc(weft_arena *a, uint32_t n) {
  uint32_t at = a->len + (uint32_t)(-(uintptr_t)(a->ptr + a->len) & 7);
  if (at > a->cap || n > a->cap - at) return NULL;
  a->len = at + n;
  for (uint32_t i = at; i < a->len; i++) a->ptr[i] = 0;
  return a->ptr + at;
}

/* ---- What messages are made of ---- */

enum weft_kind {
  WEFT_INT32, WEFT_INT64, WEFT_UINT32, WEFT_UINT64, WEFT_SINT32, WEFT_SINT64, WEFT_BOOL, WEFT_ENUM,
  WEFT_FIXED32, WEFT_SFIXED32, WEFT_FLOAT, WEFT_FIXED64, WEFT_SFIXED64, WEFT_DOUBLE, WEFT_STRING, WEFT_BYTES, WEFT_MESSAGE
};

/* How a field is there: WEFT_PLAIN when it is not zero, WEFT_MAY when its has_
 * is, a message when its pointer is not NULL. WEFT_ENTRY is that of a map. */
enum weft_form { WEFT_PLAIN, WEFT_MAY, WEFT_LIST, WEFT_PACKED, WEFT_ENTRY };

struct weft_type;

typedef struct {
  uint32_t num;
  uint8_t kind, form, oneof; /* fields of one oneof have its number, others 0 */
  uint32_t at, has;          /* offsets in the struct */
  const struct weft_type *type; /* of a message */
} weft_field;

typedef struct weft_type {
  const char *name;
  uint32_t size, fields;
  const weft_field *field;
} weft_type;

/* weft_items is any list: generated ones have the type of ptr besides. */
typedef struct {
  void *ptr;
  uint32_t len, cap;
} weft_items;

#define WEFT_DEPTH_MAX 100 /* messages in each other */

static inline uint32_t weft_size(uint8_t kind) {
  return kind == WEFT_STRING || kind == WEFT_BYTES ? sizeof(weft_str) : kind == WEFT_MESSAGE ? sizeof(void *) : kind == WEFT_BOOL ? 1
       : kind == WEFT_INT64 || kind == WEFT_UINT64 || kind == WEFT_SINT64 || kind >= WEFT_FIXED64 ? 8 : 4;
}

/* weft_wire_of is how values of a kind lie in the bytes. */
static inline uint32_t weft_wire_of(uint8_t kind) { return kind >= WEFT_STRING ? 2 : kind >= WEFT_FIXED64 ? 1 : kind >= WEFT_FIXED32 ? 5 : 0; }

static inline void weft_copy(void *to, const void *from, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
}

/* ---- Decoding ---- */

typedef struct {
  const char *ptr, *end, *error; /* error: the first, or NULL */
  weft_arena *arena;
} weft_reader;

static const char weft_no_room[] = "the message is larger than the room for it";

static inline uint64_t weft_wrong(weft_reader *r, const char *why) {
  if (!r->error) r->error = why;
  r->ptr = r->end;
  return 0;
}

static inline uint64_t weft_read_varint(weft_reader *r) {
  uint64_t v = 0;
  for (uint32_t shift = 0; r->ptr < r->end; shift += 7) {
    uint8_t b = (uint8_t)*r->ptr++;
    if (shift == 63 && b > 1) return weft_wrong(r, "a number has more than 64 bits");
    v |= (uint64_t)(b & 0x7f) << shift;
    if (b < 0x80) return v;
  }
  return weft_wrong(r, "the message ends in the middle of a field");
}

static inline weft_str weft_cut(weft_reader *r, uint64_t n) {
  weft_str s = {r->ptr, (uint32_t)n};
  if (n > (uint64_t)(r->end - r->ptr)) {
    weft_wrong(r, "the message ends in the middle of a field");
    return WEFT_STR("");
  }
  r->ptr += n;
  return s;
}

static inline weft_str weft_read_body(weft_reader *r) {
  uint64_t n = weft_read_varint(r);
  return weft_cut(r, n);
}

static inline uint64_t weft_read_number(weft_reader *r, uint32_t wire) {
  if (wire == 0) return weft_read_varint(r);
  weft_str s = weft_cut(r, wire == 1 ? 8 : 4);
  uint64_t v = 0;
  for (uint32_t i = 0; i < s.len; i++) v |= (uint64_t)(uint8_t)s.ptr[i] << (8 * i);
  return v;
}

/* weft_read_tag is the number of the next field, and how its value lies there. */
static inline uint32_t weft_read_tag(weft_reader *r, uint32_t *wire) {
  uint64_t tag = weft_read_varint(r);
  *wire = (uint32_t)tag & 7;
  if (!r->error && (tag >> 3 < 1 || tag >> 3 > (1 << 29) - 1 || *wire > 5)) weft_wrong(r, "a field has no valid number or type");
  return (uint32_t)(tag >> 3);
}

static inline void weft_skip(weft_reader *r, uint32_t num, uint32_t wire, uint32_t depth) {
  if (wire == 2) weft_read_body(r);
  else if (wire == 4) weft_wrong(r, "a field has no valid number or type");
  else if (wire != 3) weft_read_number(r, wire);
  else if (depth > WEFT_DEPTH_MAX) weft_wrong(r, "messages lie more than 100 deep in each other");
  else
    while (!r->error) {
      uint32_t n = weft_read_tag(r, &wire);
      if (r->error || (wire == 4 && n == num)) return;
      weft_skip(r, n, wire, depth + 1);
    }
}

static inline void weft_read_message(weft_reader *r, weft_str body, const weft_type *type, char *to, uint32_t depth);

/* weft_read_value takes a value that lies there as its kind wants. */
static inline void weft_read_value(weft_reader *r, const weft_field *f, char *to, uint32_t depth) {
  if (f->kind == WEFT_MESSAGE) {
    weft_str body = weft_read_body(r);
    void **m = (void **)(void *)to;
    if (!*m && !r->error && !(*m = weft_alloc(r->arena, f->type->size))) weft_wrong(r, weft_no_room);
    if (!r->error) weft_read_message(r, body, f->type, *m, depth + 1);
    return;
  }
  if (f->kind >= WEFT_STRING) {
    weft_str s = weft_read_body(r);
    if (f->kind == WEFT_STRING && !weft_is_utf8(s)) weft_wrong(r, "a string is not UTF-8");
    weft_copy(to, &s, sizeof s);
    return;
  }
  uint64_t v = weft_read_number(r, weft_wire_of(f->kind));
  if (f->kind == WEFT_SINT32) v = (uint32_t)v >> 1 ^ -(uint32_t)(v & 1);
  if (f->kind == WEFT_SINT64) v = v >> 1 ^ -(v & 1);
  if (f->kind == WEFT_BOOL) v = v != 0;
  if (!r->error) weft_copy(to, &v, weft_size(f->kind)); /* the low bytes come first */
}

/* weft_more is room for one more of a list, or NULL. */
static inline char *weft_more(weft_reader *r, weft_items *l, uint32_t size) {
  if (l->len == l->cap) {
    uint32_t cap = l->cap ? 2 * l->cap : 4;
    void *more = weft_alloc(r->arena, cap * size);
    if (!more) {
      weft_wrong(r, weft_no_room);
      return NULL;
    }
    weft_copy(more, l->ptr, l->len * size);
    l->ptr = more;
    l->cap = cap;
  }
  return (char *)l->ptr + size * l->len++;
}

/* weft_read_field takes a field; 0 when it is of another type. */
static inline int weft_read_field(weft_reader *r, const weft_type *type, const weft_field *f, uint32_t wire, char *m, uint32_t depth) {
  uint32_t want = weft_wire_of(f->kind), size = weft_size(f->kind);
  if (f->form == WEFT_ENTRY) {
    if (wire != 2) return 0;
    weft_str body = weft_read_body(r);
    char *one = weft_more(r, (weft_items *)(void *)(m + f->at), f->type->size);
    if (one) weft_read_message(r, body, f->type, one, depth + 1);
    for (uint32_t i = 0; one && !r->error && i < f->type->fields; i++) { /* an absent message is an empty one */
      const weft_field *v = &f->type->field[i];
      void **p = (void **)(void *)(one + v->at);
      if (v->kind == WEFT_MESSAGE && !*p && !(*p = weft_alloc(r->arena, v->type->size))) weft_wrong(r, weft_no_room);
    }
    return 1;
  }
  if (f->form >= WEFT_LIST) {
    weft_items *l = (weft_items *)(void *)(m + f->at);
    char *one;
    if (wire == want) {
      if ((one = weft_more(r, l, size))) weft_read_value(r, f, one, depth);
      return 1;
    }
    if (wire != 2 || want == 2) return 0;
    weft_str body = weft_read_body(r);
    weft_reader in = {body.ptr, body.ptr + body.len, r->error, r->arena};
    while (in.ptr < in.end && (one = weft_more(&in, l, size))) weft_read_value(&in, f, one, depth);
    if (in.error) weft_wrong(r, in.error);
    return 1;
  }
  if (wire != want) return 0;
  weft_read_value(r, f, m + f->at, depth);
  if (f->form == WEFT_MAY && f->kind != WEFT_MESSAGE) m[f->has] = 1;
  for (uint32_t i = 0; f->oneof && i < type->fields; i++) { /* the others of its oneof are gone */
    const weft_field *o = &type->field[i];
    if (o == f || o->oneof != f->oneof) continue;
    if (o->kind == WEFT_MESSAGE) *(void **)(void *)(m + o->at) = NULL;
    else m[o->has] = 0;
  }
  return 1;
}

static inline void weft_read_message(weft_reader *r, weft_str body, const weft_type *type, char *to, uint32_t depth) {
  weft_reader in = {body.ptr, body.ptr + body.len, r->error, r->arena};
  if (depth > WEFT_DEPTH_MAX) weft_wrong(&in, "messages lie more than 100 deep in each other");
  while (in.ptr < in.end) {
    uint32_t wire, num = weft_read_tag(&in, &wire), i = 0;
    if (in.error) break;
    while (i < type->fields && type->field[i].num != num) i++;
    if (i == type->fields || !weft_read_field(&in, type, &type->field[i], wire, to, depth)) weft_skip(&in, num, wire, 0);
  }
  if (in.error) weft_wrong(r, in.error);
}

/* weft_decode reads a message into a struct of its type; NULL, or what is wrong. */
static inline const char *weft_decode(const weft_type *type, weft_str data, void *to, weft_arena *a) {
  weft_reader r = {NULL, NULL, NULL, a};
  for (uint32_t i = 0; i < type->size; i++) ((char *)to)[i] = 0;
  weft_read_message(&r, data, type, to, 0);
  return r.error;
}

/* ---- Encoding: into b, whose ok is 0 when there was no room ---- */

static inline void weft_put_varint(weft_buf *b, uint64_t v) {
  for (; v >= 0x80; v >>= 7) weft_put_char(b, (char)(v | 0x80));
  weft_put_char(b, (char)v);
}

/* weft_put_length puts the length of what was written since at before it. */
static inline void weft_put_length(weft_buf *b, uint32_t at) {
  uint32_t n = b->len - at, size = 0;
  for (uint32_t v = n; v; v >>= 7) size++;
  if (!size) size = 1;
  for (uint32_t i = 0; i < size; i++) weft_put_char(b, 0);
  if (!b->ok) return;
  for (uint32_t i = n; i-- > 0;) b->ptr[at + i + size] = b->ptr[at + i];
  for (uint32_t i = 0; i < size; i++, n >>= 7) b->ptr[at + i] = (char)((n & 0x7f) | (i + 1 < size ? 0x80 : 0));
}

static inline void weft_put_message(weft_buf *b, const weft_type *type, const char *m);

/* weft_put_value writes a value, without its tag. */
static inline void weft_put_value(weft_buf *b, const weft_field *f, const char *from) {
  if (f->kind == WEFT_MESSAGE) {
    uint32_t at = b->len;
    const char *m = *(const char *const *)(const void *)from;
    if (m) weft_put_message(b, f->type, m);
    weft_put_length(b, at);
    return;
  }
  if (f->kind >= WEFT_STRING) {
    weft_str s;
    weft_copy(&s, from, sizeof s);
    weft_put_varint(b, s.len);
    weft_put(b, s);
    return;
  }
  uint64_t v = 0;
  uint32_t wire = weft_wire_of(f->kind), size = weft_size(f->kind);
  weft_copy(&v, from, size);
  if (f->kind == WEFT_INT32 || f->kind == WEFT_ENUM) v = (uint64_t)(int64_t)(int32_t)v;
  if (f->kind == WEFT_SINT32) v = (uint32_t)v << 1 ^ -((uint32_t)v >> 31);
  if (f->kind == WEFT_SINT64) v = v << 1 ^ -(v >> 63);
  if (!wire) weft_put_varint(b, v);
  for (uint32_t i = 0; wire && i < size; i++) weft_put_char(b, (char)(v >> (8 * i)));
}

static inline int weft_there(const weft_field *f, const char *m) {
  const char *v = m + f->at;
  if (f->kind == WEFT_MESSAGE) return *(const char *const *)(const void *)v != NULL;
  if (f->form == WEFT_MAY) return m[f->has] != 0;
  if (f->kind >= WEFT_STRING) return ((const weft_str *)(const void *)v)->len != 0;
  for (uint32_t i = 0; i < weft_size(f->kind); i++)
    if (v[i]) return 1;
  return 0;
}

static inline void weft_put_message(weft_buf *b, const weft_type *type, const char *m) {
  for (uint32_t i = 0; i < type->fields; i++) {
    const weft_field *f = &type->field[i];
    const weft_items *l = (const weft_items *)(const void *)(m + f->at);
    uint32_t tag = f->num << 3 | weft_wire_of(f->kind), size = f->form == WEFT_ENTRY ? f->type->size : weft_size(f->kind);
    if (f->form == WEFT_PACKED) {
      if (!l->len) continue;
      weft_put_varint(b, f->num << 3 | 2);
      uint32_t at = b->len;
      for (uint32_t j = 0; j < l->len; j++) weft_put_value(b, f, (const char *)l->ptr + j * size);
      weft_put_length(b, at);
    } else if (f->form >= WEFT_LIST) {
      for (uint32_t j = 0; j < l->len; j++) {
        const char *one = (const char *)l->ptr + j * size;
        weft_put_varint(b, tag);
        if (f->form == WEFT_LIST) weft_put_value(b, f, one);
        else {
          uint32_t at = b->len;
          weft_put_message(b, f->type, one);
          weft_put_length(b, at);
        }
      }
    } else if (weft_there(f, m)) {
      weft_put_varint(b, tag);
      weft_put_value(b, f, m + f->at);
    }
  }
}

/* weft_encode is the encoding of a message, in the rest of an arena; ptr is NULL
 * when that is too small. */
static inline weft_str weft_encode(const weft_type *type, const void *m, weft_arena *a) {
  weft_buf b = {a->ptr + a->len, 0, a->cap - a->len, 1};
  weft_put_message(&b, type, m);
  if (!b.ok) return (weft_str){NULL, 0};
  a->len += b.len;
  return weft_text(&b);
}

/* ---- Methods ---- */

/* weft_rpc is a call of a method. What it decodes lies in arena. */
typedef struct {
  weft_arena arena;
  uint32_t mark;   /* where the next message of a stream goes */
  uint32_t code;   /* of what went wrong, which was answered then */
} weft_rpc;

static inline uint32_t weft_refuse(weft_rpc *c, enum weft_code code, const char *message) {
  if (!c->code) c->code = weft_fail(code, message);
  return c->code;
}

static inline uint32_t weft_understand(weft_rpc *c, const weft_type *type, weft_str in, void *to) {
  const char *wrong = weft_decode(type, in, to, &c->arena);
  if (!wrong) return 0;
  return weft_refuse(c, wrong == weft_no_room ? WEFT_RESOURCE_EXHAUSTED : WEFT_INVALID_ARGUMENT, wrong);
}

/* weft_take takes the input of a call without a stream, which is the first in its
 * arena: the message, or NULL when something is wrong. */
static inline void *weft_take(weft_rpc *c, uint32_t input_len, const weft_type *type) {
  if (input_len > c->arena.cap) return weft_refuse(c, WEFT_RESOURCE_EXHAUSTED, weft_no_room), NULL;
  weft_str in = weft_input(c->arena.ptr, c->arena.cap, input_len);
  c->arena.len = in.len;
  void *m = weft_alloc(&c->arena, type->size);
  if (!m) return weft_refuse(c, WEFT_RESOURCE_EXHAUSTED, weft_no_room), NULL;
  return weft_understand(c, type, in, m) ? NULL : m;
}

/* weft_next takes the next message of a stream: 1, or 0 after the last and when
 * something is wrong, which the method's return tells the caller then. The one
 * before is gone. */
static inline int weft_next(weft_rpc *c, const weft_type *type, void *to) {
  if (c->code) return 0;
  c->arena.len = c->mark;
  uint32_t room = c->arena.cap - c->arena.len;
  int64_t n = weft_recv(c->arena.ptr + c->arena.len, room);
  if (n == -WEFT_OUT_OF_RANGE) return 0;
  if (n < 0) return c->code = weft_failed((uint32_t)-n, "recv"), 0;
  if (n > room) return weft_refuse(c, WEFT_RESOURCE_EXHAUSTED, weft_no_room), 0;
  weft_str in = {c->arena.ptr + c->arena.len, (uint32_t)n};
  c->arena.len += in.len;
  return !weft_understand(c, type, in, to);
}

/* weft_give_message sends a message of a stream: 0, or a code. */
static inline uint32_t weft_give_message(weft_rpc *c, const weft_type *type, const void *m) {
  if (c->code) return c->code;
  uint32_t mark = c->arena.len;
  weft_str out = weft_encode(type, m, &c->arena);
  if (!out.ptr) return weft_refuse(c, WEFT_RESOURCE_EXHAUSTED, "the answer is larger than the room for it");
  enum weft_code code = weft_send(out);
  c->arena.len = mark;
  return code ? (c->code = weft_failed(code, "send")) : 0;
}

/* weft_answer_message answers a call without a stream. */
static inline uint32_t weft_answer_message(weft_rpc *c, const weft_type *type, const void *m) {
  weft_str out = weft_encode(type, m, &c->arena);
  if (!out.ptr) return weft_refuse(c, WEFT_RESOURCE_EXHAUSTED, "the answer is larger than the room for it");
  return weft_reply(out);
}

/* weft_add_message adds a message to the error that comes next. */
static inline void weft_add_message(weft_rpc *c, const weft_type *type, const void *m) {
  uint32_t mark = c->arena.len;
  weft_str out = weft_encode(type, m, &c->arena);
  if (out.ptr) weft_add_detail(type->name, out);
  c->arena.len = mark;
}

#endif
