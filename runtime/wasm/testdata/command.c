/* A plain program: it writes its input in capitals, or does what the input says. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  static char in[1 << 16];
  static int runs;
  size_t n = fread(in, 1, sizeof in - 1, stdin);
  in[n] = 0;
  if (!strcmp(in, "fail")) {
    fputs("it begins well\nthen the till is empty\n", stderr);
    return 3;
  }
  if (!strcmp(in, "mute")) exit(7);
  if (!strcmp(in, "runs")) {
    printf("%d", ++runs);
    return 0;
  }
  if (!strcmp(in, "args")) {
    printf("%d %s %d", argc, argv[0], getenv("HOME") != NULL);
    return 0;
  }
  if (!strcmp(in, "file")) {
    if (!fopen("/etc/passwd", "r")) perror("passwd");
    return 1;
  }
  if (!strcmp(in, "flood")) for (;;) puts("more and more and more");
  if (!strcmp(in, "spin")) for (;;) runs++;
  for (size_t i = 0; i < n; i++) putchar(toupper((unsigned char)in[i]));
  return 0;
}
