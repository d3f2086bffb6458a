#include "fate.h"

#include <stdio.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "port/option.h"

#define RATE_MAX UINT64_C(1000000000)
#define DELAY_MS_MAX 3600000u

/* "0", or "1/N": one in N. */
static bool read_rate(const char *value, uint64_t *out) {
  *out = 0;
  if (!strcmp(value, "0")) return true;
  return !strncmp(value, "1/", 2) && qr_option_u64(value + 2, 1, RATE_MAX, out);
}

/* "name" or "name:key=value;key=value". */
static bool read_inner(const char *value, qr_error_settings_t *out) {
  const char *colon = strchr(value, ':');
  size_t n = colon ? (size_t)(colon - value) : strlen(value);
  if (!n || n >= sizeof out->inner) return false;
  memcpy(out->inner, value, n);
  out->inner[n] = 0;
  snprintf(out->inner_options, sizeof out->inner_options, "%s", colon ? colon + 1 : "");
  for (char *c = out->inner_options; *c; c++)
    if (*c == ';') *c = ',';
  return true;
}

static int refuse(const qr_option_t *o, const char *wanted, char *why, size_t why_sz) {
  snprintf(why, why_sz, "accel error: %s: '%.64s' is not %s", o->key, o->value, wanted);
  return QR_ERR_ARG;
}

static int set(qr_error_settings_t *s, const qr_option_t *o, char *why, size_t why_sz) {
  const struct {
    const char *key;
    uint64_t *at, most; /* most 0: a rate */
  } keys[] = {{"corrupt", &s->corrupt, 0},
              {"drop", &s->drop, 0},
              {"fail", &s->fail, 0},
              {"delay", &s->delay, 0},
              {"seed", &s->seed, UINT64_MAX},
              {"delay_ms", &s->delay_ms, DELAY_MS_MAX},
              {"open_fail", &s->open_fail, RATE_MAX}};
  for (size_t i = 0; i < QR_ARRAY_CNT(keys); i++) {
    if (strcmp(o->key, keys[i].key)) continue;
    if (!keys[i].most)
      return read_rate(o->value, keys[i].at) ? QR_OK
                                             : refuse(o, "0 or 1/N, one job in N", why, why_sz);
    return qr_option_u64(o->value, 0, keys[i].most, keys[i].at)
               ? QR_OK
               : refuse(o, "a number that it takes", why, why_sz);
  }
  if (!strcmp(o->key, "deaf")) {
    s->deaf = !strcmp(o->value, "1");
    return s->deaf || !strcmp(o->value, "0") ? QR_OK : refuse(o, "0 or 1", why, why_sz);
  }
  if (!strcmp(o->key, "look")) {
    s->look = true;
    return *o->value ? refuse(o, "asked for: it has no value", why, why_sz) : QR_OK;
  }
  if (!strcmp(o->key, "inner"))
    return read_inner(o->value, s)
               ? QR_OK
               : refuse(o, "a driver's name, its options behind a colon with ; between them", why,
                        why_sz);
  snprintf(why, why_sz,
           "accel error: unknown option %s; there are inner, seed, corrupt, drop, deaf, fail, "
           "delay, delay_ms, open_fail and look",
           o->key);
  return QR_ERR_ARG;
}

int qr_error_settings(const char *options, qr_error_settings_t *out, char *why, size_t why_sz) {
  qr_option_t o;
  int r;
  *out = (qr_error_settings_t){.inner = "cpu"};
  while ((r = qr_option_next(&options, ',', &o)) > 0) {
    r = set(out, &o, why, why_sz);
    if (r) return r;
  }
  if (r) snprintf(why, why_sz, "accel error: options must be key=value,...");
  if (!r && out->delay_ms && !out->delay) out->delay = 1;
  return r;
}

static bool one_in(uint64_t n, uint64_t draw) { return n && draw % n == 0; }

qr_error_fate_t qr_error_fate(const qr_error_settings_t *s, uint64_t queue, uint64_t job) {
  uint64_t state = s->seed;
  state = qr_splitmix_next(&state) ^ queue;
  state = qr_splitmix_next(&state) ^ job;
  qr_error_fate_t f;
  f.corrupt = one_in(s->corrupt, qr_splitmix_next(&state));
  f.drop = one_in(s->drop, qr_splitmix_next(&state));
  f.fail = one_in(s->fail, qr_splitmix_next(&state));
  f.delay = one_in(s->delay, qr_splitmix_next(&state));
  f.where = qr_splitmix_next(&state);
  return f;
}

void qr_error_flip(void *bytes, size_t sz, uint64_t where) {
  uint8_t *p = bytes;
  if (sz) p[where / 8 % sz] ^= (uint8_t)(1u << (where & 7));
}
