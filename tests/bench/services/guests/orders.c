/* The service in C: as little as a guest can do. An EchoRequest reads as an
 * EchoResponse, and a HoldRequest as a HoldResponse. */
#include "weft.h"

static char room[64 << 10];

WEFT_HANDLER("orders.v1.OrderService/Nothing", nothing) {
  (void)input_len;
  return WEFT_OK;
}

WEFT_HANDLER("orders.v1.OrderService/Echo", echo) {
  weft_write(weft_input(room, sizeof room, input_len));
  return WEFT_OK;
}

WEFT_HANDLER("orders.v1.OrderService/Hold", hold) {
  (void)input_len;
  for (;;) {
    int64_t n = weft_recv(room, sizeof room);
    if (n < 0) return n == -WEFT_OUT_OF_RANGE ? WEFT_OK : (uint32_t)-n;
    enum weft_code code = weft_send((weft_str){room, (uint32_t)n});
    if (code != WEFT_OK) return code;
  }
}
