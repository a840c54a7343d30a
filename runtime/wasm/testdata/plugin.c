/* A plug-in as Extism has them, without any kit. */
#define IMPORT(name) __attribute__((import_module("extism:host/env"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
typedef unsigned long long u64;

IMPORT("alloc") u64 block_alloc(u64 n);
IMPORT("free") void block_free(u64 at);
IMPORT("length") u64 block_length(u64 at);
IMPORT("load_u8") unsigned block_load(u64 at);
IMPORT("store_u8") void block_store(u64 at, unsigned v);
IMPORT("store_u64") void block_store8(u64 at, u64 v);
IMPORT("load_u64") u64 block_load8(u64 at);
IMPORT("input_length") u64 input_length(void);
IMPORT("input_offset") u64 input_offset(void);
IMPORT("input_load_u8") unsigned input_load(u64 at);
IMPORT("input_load_u64") u64 input_load8(u64 at);
IMPORT("output_set") void output_set(u64 at, u64 n);
IMPORT("error_set") void error_set(u64 at);
IMPORT("config_get") u64 config_get(u64 key);
IMPORT("var_get") u64 var_get(u64 key);
IMPORT("var_set") void var_set(u64 key, u64 value);
IMPORT("http_request") u64 http_request(u64 request, u64 body);
IMPORT("http_status_code") unsigned http_status(void);
IMPORT("http_headers") u64 http_headers(void);
IMPORT("log_warn") void log_warn(u64 text);
IMPORT("log_trace") void log_trace(u64 text);
IMPORT("get_log_level") unsigned log_level(void);

static u64 text(const char *s) {
  unsigned n = 0;
  while (s[n]) n++;
  u64 at = block_alloc(n);
  for (unsigned i = 0; i < n; i++) block_store(at + i, (unsigned char)s[i]);
  return at;
}

static u64 input(void) {
  u64 n = input_length(), at = block_alloc(n);
  for (u64 i = 0; i < n; i++) block_store(at + i, input_load(i));
  return at;
}

static unsigned answer(u64 at) {
  output_set(at, block_length(at));
  return 0;
}

EXPORT("echo") unsigned echo(void) { return answer(input()); }
EXPORT("same") unsigned same(void) {
  output_set(input_offset(), input_length());
  return 0;
}
EXPORT("silent") unsigned silent(void) { return 0; }
EXPORT("fail") unsigned fail(void) {
  error_set(input());
  return 1;
}
EXPORT("mute") unsigned mute(void) { return 5; }
EXPORT("config") unsigned config(void) {
  u64 v = config_get(input());
  return v ? answer(v) : answer(text("none"));
}
EXPORT("swap") unsigned swap(void) { /* the variable's old value */
  u64 key = text("kept"), old = var_get(key), in = input();
  var_set(key, block_length(in) ? in : 0);
  return old ? answer(old) : answer(text("none"));
}
EXPORT("log") unsigned log_it(void) {
  if (log_level() <= 3) log_warn(input());
  log_trace(text("all of it"));
  return 0;
}
EXPORT("http") unsigned http(void) {
  u64 body = http_request(input(), text("sent"));
  if (http_status() != 203 || !http_headers()) return 1;
  return answer(body);
}
EXPORT("words") unsigned words(void) { /* eight bytes at a time */
  u64 at = block_alloc(8);
  block_store8(at, input_load8(0));
  if (block_load8(at) != input_load8(0) || block_load(at) != input_load(0)) return 1;
  output_set(at, 8);
  return 0;
}
EXPORT("reuse") unsigned reuse(void) { /* what is freed is there again, and empty */
  u64 a = block_alloc(8);
  block_store8(a, ~0ull);
  block_free(a);
  u64 b = block_alloc(8);
  return a == b && block_load8(b) == 0 ? 0 : 1;
}
EXPORT("outside") unsigned outside(void) { return block_load(1 << 30); }
EXPORT("past") unsigned past(void) { return input_load8(input_length()); }
EXPORT("greedy") unsigned greedy(void) {
  for (;;) block_alloc(1 << 20);
}
EXPORT("crumbs") unsigned crumbs(void) {
  for (;;) block_alloc(1);
}
EXPORT("large") unsigned large(void) {
  u64 at = block_alloc(2 << 20);
  output_set(at, 2 << 20);
  return 0;
}
static int started;
EXPORT("__wasm_call_ctors") void construct(void) { started = started * 10 + 1; }
EXPORT("hs_init") void begin(int argc, int argv) { started = started * 10 + 2 + argc + argv; }
EXPORT("started") unsigned begun(void) { return started == 12 ? 0 : 1; }
EXPORT("_hidden") unsigned hidden(void) { return 0; }
EXPORT("add") unsigned add(unsigned a) { return a; }
