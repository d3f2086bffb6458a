#include "fate.h"

#include <stdio.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "port/option.h"

#define RATE_MAX UINT64_C(1000000000)
#define DELAY_POLLS_MAX UINT64_C(1000000)
#define OPEN_SALT UINT64_C(0x6f70656e)

/* "0", or "1/N": one in N. */
static bool read_rate(const char *value, uint64_t *out) {
  *out = 0;
  if (!strcmp(value, "0")) return true;
  return !strncmp(value, "1/", 2) && qr_option_u64(value + 2, 1, RATE_MAX, out);
}

/* "name" or "name:key=value,key=value". */
static bool read_inner(const char *value, qr_store_error_settings_t *out) {
  const char *colon = strchr(value, ':');
  size_t n = colon ? (size_t)(colon - value) : strlen(value);
  if (!n || n >= sizeof out->inner) return false;
  memcpy(out->inner, value, n);
  out->inner[n] = 0;
  snprintf(out->inner_options, sizeof out->inner_options, "%s", colon ? colon + 1 : "");
  for (char *c = out->inner_options; *c; c++)
    if (*c == ',') *c = ';';
  return true;
}

static int refuse(const qr_option_t *o, const char *wanted, char *why, size_t why_sz) {
  snprintf(why, why_sz, "store option %s=%.64s is not %s", o->key, o->value, wanted);
  return QR_ERR_ARG;
}

static int set(qr_store_error_settings_t *s, const qr_option_t *o, char *why, size_t why_sz) {
  const struct {
    const char *key;
    uint64_t *at;
    bool rate;
    uint64_t most;
  } keys[] = {{"fail", &s->fail, true, 0},
              {"survive", &s->survive, true, 0},
              {"delay", &s->delay, true, 0},
              {"open_fail", &s->open_fail, true, 0},
              {"seed", &s->seed, false, UINT64_MAX},
              {"delay_polls", &s->delay_polls, false, DELAY_POLLS_MAX}};
  for (size_t i = 0; i < QR_ARRAY_CNT(keys); i++) {
    if (strcmp(o->key, keys[i].key)) continue;
    if (keys[i].rate)
      return read_rate(o->value, keys[i].at) ? QR_OK : refuse(o, "0 or 1/N, one in N", why, why_sz);
    return qr_option_u64(o->value, 0, keys[i].most, keys[i].at)
               ? QR_OK
               : refuse(o, "a number that it takes", why, why_sz);
  }
  if (!strcmp(o->key, "inner"))
    return read_inner(o->value, s)
               ? QR_OK
               : refuse(o, "a driver's name, its options behind a colon with , between them", why,
                        why_sz);
  snprintf(why, why_sz,
           "store option \"%s\" is not known; the error store knows inner, seed, fail, survive, "
           "delay, delay_polls and open_fail",
           o->key);
  return QR_ERR_ARG;
}

int qr_store_error_settings(const char *options, qr_store_error_settings_t *out, char *why,
                            size_t why_sz) {
  qr_option_t o;
  int r;
  *out = (qr_store_error_settings_t){.delay_polls = 16, .inner = "mem", .inner_options = "keep=1"};
  while ((r = qr_option_next(&options, ';', &o)) > 0) {
    r = set(out, &o, why, why_sz);
    if (r) return r;
  }
  if (r) snprintf(why, why_sz, "store options must be key=value;...");
  return r;
}

static bool one_in(uint64_t n, uint64_t draw) { return n && draw % n == 0; }

qr_store_error_fate_t qr_store_error_fate(const qr_store_error_settings_t *s, uint64_t open,
                                          uint64_t commit) {
  uint64_t state = s->seed;
  state = qr_splitmix_next(&state) ^ open;
  state = qr_splitmix_next(&state) ^ commit;
  qr_store_error_fate_t f;
  f.fail = one_in(s->fail, qr_splitmix_next(&state));
  f.survive = one_in(s->survive, qr_splitmix_next(&state));
  f.delay = one_in(s->delay, qr_splitmix_next(&state));
  f.follower_cnt = (uint32_t)(qr_splitmix_next(&state) % 4);
  return f;
}

bool qr_store_error_open_fails(const qr_store_error_settings_t *s, uint64_t open) {
  uint64_t state = s->seed ^ OPEN_SALT;
  state = qr_splitmix_next(&state) ^ open;
  return open && one_in(s->open_fail, qr_splitmix_next(&state));
}
