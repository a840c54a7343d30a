/* loyalty gives points to customers: a module in C without a standard library.
 *
 * It subscribes to shop.order.placed, as order and notification do; each of
 * them gets every such event.
 *
 * State: points/CUSTOMER is a balance, seen/SOURCE#ID an event that was counted.
 */
#include "weft.h"

/* Input, keys and answers of one call; a call over them is refused. */
static char input_room[16 << 10], key_room[1 << 10], value_room[64], answer_room[2 << 10];

/* cents_per_point is the configuration key of that name, or 100. */
static int64_t cents_per_point(void) {
  weft_str key = WEFT_STR("cents-per-point");
  char room[20];
  int64_t n = weft_abi_config_get(key.ptr, key.len, room, sizeof room), cents;
  if (weft_found(n, sizeof room) && weft_parse_int((weft_str){room, (uint32_t)n}, &cents) && cents > 0) return cents;
  return 100;
}

/* balance reads what a customer has: 0 at first. Not ok when the host refuses. */
static int balance(weft_str key, int64_t *points, uint32_t *code) {
  int64_t n = weft_abi_state_get(key.ptr, key.len, value_room, sizeof value_room);
  *points = 0;
  if (n == -WEFT_NOT_FOUND) return 1;
  if (n < 0) {
    *code = weft_fail((enum weft_code)-n, "the balance cannot be read");
    return 0;
  }
  if (weft_found(n, sizeof value_room) && weft_parse_int((weft_str){value_room, (uint32_t)n}, points)) return 1;
  *code = weft_fail(WEFT_DATA_LOSS, "the balance is no number");
  return 0;
}

/* seen_key names the event of this call; empty when the call brings none. */
static weft_str seen_key(void) {
  weft_buf key = WEFT_BUF(key_room);
  char room[400];
  weft_str source = weft_header("ce-source", room, sizeof room);
  if (!source.len) return WEFT_STR("");
  weft_put(&key, WEFT_STR("seen/"));
  weft_put(&key, source);
  weft_str id = weft_header("ce-id", room, sizeof room);
  if (!id.len) return WEFT_STR("");
  weft_put_char(&key, '#');
  weft_put(&key, id);
  return weft_text(&key);
}

/* counted remembers the event; 1 if it had been counted before. */
static int counted(uint32_t *code) {
  weft_str key = seen_key();
  if (!key.len) {
    *code = weft_fail(WEFT_INVALID_ARGUMENT, "the call brings no event: ce-source or ce-id is missing or too long");
    return 0;
  }
  if (weft_abi_state_get(key.ptr, key.len, value_room, sizeof value_room) >= 0) return 1;
  *code = weft_abi_state_set(key.ptr, key.len, "1", 1);
  if (*code) weft_write(WEFT_STR("the event cannot be remembered"));
  return 0;
}

static weft_str points_key(weft_str customer) {
  weft_buf key = WEFT_BUF(key_room);
  weft_put(&key, WEFT_STR("points/"));
  weft_put(&key, customer);
  return key.ok ? weft_text(&key) : WEFT_STR("");
}

static weft_str tier(int64_t points) {
  if (points >= 1000) return WEFT_STR("gold");
  if (points >= 100) return WEFT_STR("silver");
  return WEFT_STR("bronze");
}

/* statement is {"customer":...,"earned":...,"points":...,"tier":...} */
static weft_str statement(weft_str customer, int64_t earned, int64_t points) {
  weft_buf b = WEFT_BUF(answer_room);
  weft_put(&b, WEFT_STR("{\"customer\":\""));
  weft_put(&b, customer);
  weft_put(&b, WEFT_STR("\",\"earned\":"));
  weft_put_int(&b, earned);
  weft_put(&b, WEFT_STR(",\"points\":"));
  weft_put_int(&b, points);
  weft_put(&b, WEFT_STR(",\"tier\":\""));
  weft_put(&b, tier(points));
  weft_put(&b, WEFT_STR("\"}"));
  return weft_text(&b);
}

/* add writes the new balance and tells the world. */
static uint32_t add(weft_str customer, int64_t earned) {
  uint32_t code;
  int64_t points;
  weft_str key = points_key(customer);
  if (!key.len) return weft_fail(WEFT_INVALID_ARGUMENT, "customer is too long");
  if (!balance(key, &points, &code)) return code;
  points += earned;
  weft_buf value = WEFT_BUF(value_room);
  weft_put_int(&value, points);
  code = weft_abi_state_set(key.ptr, key.len, value.ptr, value.len);
  if (code) return weft_fail(code, "the balance cannot be written");
  weft_str type = WEFT_STR("loyalty.points.earned"), data = statement(customer, earned, points);
  code = weft_abi_publish(type.ptr, type.len, data.ptr, data.len);
  if (code) return weft_fail(code, "the event cannot be published");
  weft_write(data);
  return WEFT_OK;
}

/* earn-points: an event shop.order.placed with customer and total in cents. */
WEFT_HANDLER("earn-points", earn_points) {
  uint32_t code = WEFT_OK;
  int64_t total;
  weft_str in = weft_input(input_room, sizeof input_room, input_len);
  if (in.len < input_len) return weft_fail(WEFT_OUT_OF_RANGE, "the event is longer than 16 KiB");
  weft_str customer = weft_json_text(weft_json_get(in, "customer"));
  if (!customer.len || customer.len > 200) return weft_fail(WEFT_INVALID_ARGUMENT, "customer is missing, or is no plain string of at most 200 bytes");
  if (!weft_parse_int(weft_json_get(in, "total"), &total) || total < 0) return weft_fail(WEFT_INVALID_ARGUMENT, "total is no number of cents");
  if (counted(&code) || code) return code;
  return add(customer, total / cents_per_point());
}

/* points: {"customer":...} -> the balance. */
WEFT_HANDLER("points", points) {
  uint32_t code;
  int64_t n;
  weft_str in = weft_input(input_room, sizeof input_room, input_len);
  weft_str customer = weft_json_text(weft_json_get(in, "customer"));
  if (!customer.len || customer.len > 200) return weft_fail(WEFT_INVALID_ARGUMENT, "customer is missing, or is no plain string of at most 200 bytes");
  if (!balance(points_key(customer), &n, &code)) return code;
  weft_write(statement(customer, 0, n));
  return WEFT_OK;
}
