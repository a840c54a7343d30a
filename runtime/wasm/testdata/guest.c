// The guest that the tests of runtime/wasm call: one handler for each thing
// that a well-behaved or a hostile handler does. README.md says how it is built.
#include <stdint.h>
#define W(n) __attribute__((import_module("weft/v1"), import_name(#n)))
#define EXPORT(n) __attribute__((export_name(#n))) uint32_t n(uint32_t len)

W(input) uint32_t w_input(void *dst, uint32_t cap, uint32_t off);
W(output) void w_output(const void *p, uint32_t n);
W(result) uint32_t w_result(void *dst, uint32_t cap, uint32_t off);
W(header_get) int64_t w_header_get(const char *k, uint32_t kn, void *dst, uint32_t cap);
W(header_set) void w_header_set(const char *k, uint32_t kn, const char *v, uint32_t vn);
W(state_get) int64_t w_state_get(const char *k, uint32_t kn, void *dst, uint32_t cap);
W(state_set) int32_t w_state_set(const char *k, uint32_t kn, const void *v, uint32_t vn);
W(state_delete) int32_t w_state_delete(const char *k, uint32_t kn);
W(publish) int32_t w_publish(const char *t, uint32_t tn, const void *v, uint32_t vn);
W(call) int64_t w_call(const char *p, uint32_t pn, const void *r, uint32_t rn, void *dst, uint32_t cap);
W(http) int64_t w_http(const void *r, uint32_t rn, void *dst, uint32_t cap);
W(config_get) int64_t w_config_get(const char *k, uint32_t kn, void *dst, uint32_t cap);
W(secret_get) int64_t w_secret_get(const char *k, uint32_t kn, void *dst, uint32_t cap);
W(deadline) int64_t w_deadline(void);
W(log) void w_log(uint32_t level, const char *p, uint32_t n);

static char buf[65536];
static uint32_t size;
static void read(uint32_t len) { size = w_input(buf, sizeof buf, 0); }
// code passes on why a host call failed.
static uint32_t code(uint32_t c) {
  if (c) w_output(buf, w_result(buf, sizeof buf, 0));
  return c;
}
// answer writes what an import left in buf, or returns its code.
static uint32_t answer(int64_t n) {
  if (n < 0) return code(-n);
  w_output(buf, n);
  return 0;
}

EXPORT(noop) { return 0; }
EXPORT(echo) { read(len); w_output(buf, size); return 0; }
EXPORT(fail) { w_output("no such order", 13); return 5; }
EXPORT(odd) { w_output("what", 4); return 99; }
EXPORT(header) { w_header_set("X-Answer", 8, "yes", 3); return answer(w_header_get("X-Ask", 5, buf, sizeof buf)); }
EXPORT(get) { read(len); return answer(w_state_get(buf, size, buf, sizeof buf)); }
EXPORT(set) { read(len); return code(w_state_set("k", 1, buf, size)); }
EXPORT(del) { read(len); return code(w_state_delete(buf, size)); }
EXPORT(publish) { read(len); return code(w_publish("t.happened", 10, buf, size)); }
EXPORT(call) { read(len); return answer(w_call("peer/Do", 7, buf, size, buf, sizeof buf)); }
EXPORT(http) { read(len); return answer(w_http(buf, size, buf, sizeof buf)); }
EXPORT(config) { read(len); return answer(w_config_get(buf, size, buf, sizeof buf)); }
EXPORT(secret) { read(len); return answer(w_secret_get(buf, size, buf, sizeof buf)); }
EXPORT(left) { int64_t d = w_deadline(); w_output(&d, 8); return 0; }
EXPORT(say) { read(len); w_log(2, buf, size); return 0; }
// parts reads a long value through result, 7 bytes at a time.
EXPORT(parts) {
  int64_t n = w_state_get("long", 4, 0, 0);
  for (uint32_t off = 0; off < n; off += 7) w_output(buf, w_result(buf, 7, off));
  return 0;
}
static uint32_t calls;
EXPORT(count) { calls++; w_output(&calls, 4); return 0; }
EXPORT(random) { volatile uint32_t h = 1; for (uint32_t i = 0; i < 1000; i++) h = h * 31 + i; return h & 0; }
EXPORT(work) { uint32_t h = 2166136261u; for (uint32_t i = 0; i < 1000000; i++) h = (h ^ (i & 255)) * 16777619u; w_output(&h, 4); return 0; }
volatile uint32_t sink;

// Hostile ones.
EXPORT(spin) { for (;;) sink++; }
EXPORT(trap) { __builtin_trap(); }
EXPORT(wild) { return *(volatile uint32_t *)0xfffffff0; }
EXPORT(grow) { while (__builtin_wasm_memory_grow(0, 16) != (unsigned long)-1) sink++; uint32_t n = __builtin_wasm_memory_size(0); w_output(&n, 4); return 0; }
EXPORT(fill) { __builtin_wasm_memory_grow(0, 800); for (;;) { __builtin_memset((char *)0x200000, sink++, 700 << 16); } }
static uint32_t rec(volatile uint32_t n) { volatile uint32_t a[4]; a[n & 3] = n; if (n == 0) return 1; return rec(n - 1) + a[n & 3]; }
EXPORT(recurse) { return rec(0xffffffff) & 1; }
EXPORT(deep) { return rec(10000) & 0; }
EXPORT(badptr) { w_output((void *)0xfffffff0, 0x100); return 0; }
EXPORT(badlen) { w_output((void *)16, 0xffffffff); return 0; }
EXPORT(badkey) { return w_state_get((void *)16, 0x7fffffff, buf, 64) < 0 ? 3 : 0; }
EXPORT(flood) { for (;;) w_output(buf, 4096); }
EXPORT(hostflood) { for (;;) w_state_get("k", 1, buf, sizeof buf); }
EXPORT(inputflood) { for (;;) w_input(buf, sizeof buf, 0); }
EXPORT(logflood) { for (;;) w_log(1, buf, sizeof buf); }
EXPORT(headerflood) { for (uint32_t i = 0;; i++) { w_header_set("x-more", 6, "v", 1); } }
EXPORT(chase) {
  // a walk in memory that no cache can follow
  __builtin_wasm_memory_grow(0, 900);
  uint32_t *m = (uint32_t *)0x200000, at = 1;
  for (uint32_t i = 0; i < (48 << 18); i += 1024) m[i] = i;
  for (;;) { at = at * 1664525u + 1013904223u + m[at % (48 << 18)]; sink = at; }
}
EXPORT(divide) { uint64_t x = len | 1; for (;;) { x = (0xffffffffffffffffull / x) | 1; sink = x; x = (0xfffffffffffffff3ull % (x | 3)) | 1; } }
