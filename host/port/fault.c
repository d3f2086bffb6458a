#include "port/fault.h"

#include <stdio.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "port/option.h"

static bool read_rate(const char *value, uint64_t *out) {
  *out = 0;
  if (!strcmp(value, "0")) return true;
  return !strncmp(value, "1/", 2) && qr_option_u64(value + 2, 1, QR_FAULT_RATE_MAX, out);
}

static char other(char separator) { return separator == ',' ? ';' : ','; }

static bool read_inner(const char *value, char separator, qr_fault_inner_t *out) {
  const char *colon = strchr(value, ':');
  size_t n = colon ? (size_t)(colon - value) : strlen(value);
  if (!n || n >= sizeof out->name) return false;
  memcpy(out->name, value, n);
  out->name[n] = 0;
  snprintf(out->options, sizeof out->options, "%s", colon ? colon + 1 : "");
  for (char *c = out->options; *c; c++)
    if (*c == other(separator)) *c = separator;
  return true;
}

static bool read_switch(const char *value, bool *out) {
  *out = !strcmp(value, "1");
  return *out || !strcmp(value, "0");
}

static bool read_value(const qr_fault_option_t *k, const char *value, char separator) {
  switch (k->kind) {
  case QR_FAULT_RATE: return read_rate(value, k->at);
  case QR_FAULT_NUMBER: return qr_option_u64(value, 0, k->most, k->at);
  case QR_FAULT_SWITCH: return read_switch(value, k->at);
  case QR_FAULT_FLAG: *(bool *)k->at = true; return !*value;
  default: return read_inner(value, separator, k->at);
  }
}

static void tell_wanted(const qr_fault_option_t *k, char separator, char *out, size_t out_sz) {
  switch (k->kind) {
  case QR_FAULT_RATE: snprintf(out, out_sz, "0 or 1/N, one in N"); break;
  case QR_FAULT_NUMBER:
    snprintf(out, out_sz, "a number up to %llu", (unsigned long long)k->most);
    break;
  case QR_FAULT_SWITCH: snprintf(out, out_sz, "0 or 1"); break;
  case QR_FAULT_FLAG: snprintf(out, out_sz, "empty: it has no value"); break;
  default:
    snprintf(out, out_sz, "a driver's name, its options behind a colon with %c between them",
             other(separator));
  }
}

static void tell_known(const qr_fault_option_t *known, size_t known_cnt, char *out, size_t out_sz) {
  size_t at = 0;
  out[0] = 0;
  for (size_t i = 0; i < known_cnt && at < out_sz; i++)
    at += (size_t)snprintf(out + at, out_sz - at, "%s %s", i ? "," : "", known[i].key);
}

int qr_fault_options(const char *who, const char *options, char separator,
                     const qr_fault_option_t *known, size_t known_cnt, char *why, size_t why_sz) {
  qr_option_t o;
  char text[192];
  int r;
  while ((r = qr_option_next(&options, separator, &o)) > 0) {
    size_t i = 0;
    while (i < known_cnt && strcmp(o.key, known[i].key)) i++;
    if (i == known_cnt) {
      tell_known(known, known_cnt, text, sizeof text);
      snprintf(why, why_sz, "%s: unknown option %s; there are%s", who, o.key, text);
      return QR_ERR_ARG;
    }
    if (read_value(&known[i], o.value, separator)) continue;
    tell_wanted(&known[i], separator, text, sizeof text);
    snprintf(why, why_sz, "%s: %s: '%.64s' is not %s", who, o.key, o.value, text);
    return QR_ERR_ARG;
  }
  if (r) snprintf(why, why_sz, "%s: options must be key=value%c...", who, separator);
  return r;
}

uint64_t qr_fault_lots(uint64_t lots, uint64_t number) { return qr_splitmix_next(&lots) ^ number; }

bool qr_fault_hits(uint64_t *lots, uint64_t rate) {
  uint64_t lot = qr_splitmix_next(lots);
  return rate && lot % rate == 0;
}
