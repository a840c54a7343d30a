/* The guest in C for weft. */
#include "weft.h"

static char room[1 << 16];

WEFT_HANDLER("noop", noop) {
  (void)input_len;
  return WEFT_OK;
}

WEFT_HANDLER("echo", echo) {
  weft_write(weft_input(room, sizeof room, input_len));
  return WEFT_OK;
}
