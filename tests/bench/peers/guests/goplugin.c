/* The guest in C for go-plugin. The answer to echo is the message that came in. */
#define EXPORT(name) __attribute__((export_name(name)))
typedef unsigned long long u64;

static char room[1 << 17];
static unsigned used;

EXPORT("malloc") char *allocate(unsigned n) {
  if (used + n > sizeof room) used = 0;
  char *p = room + used;
  used += (n + 7) & ~7u;
  return p;
}
EXPORT("free") void release(char *p) { (void)p; }
EXPORT("echo_api_version") u64 version(void) { return 1; }
EXPORT("echo_noop") u64 noop(unsigned at, unsigned n) {
  (void)n;
  return (u64)at << 32;
}
EXPORT("echo_echo") u64 echo(unsigned at, unsigned n) { return (u64)at << 32 | n; }
