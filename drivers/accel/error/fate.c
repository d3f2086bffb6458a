#include "fate.h"

#include "base/splitmix.h"

#define DELAY_MS_MAX 3600000u

int qr_error_settings(const char *options, qr_error_settings_t *out, char *why, size_t why_sz) {
  const qr_fault_option_t known[] = {
      {"inner", QR_FAULT_INNER, &out->inner, 0},
      {"seed", QR_FAULT_NUMBER, &out->seed, UINT64_MAX},
      {"corrupt", QR_FAULT_RATE, &out->corrupt, 0},
      {"drop", QR_FAULT_RATE, &out->drop, 0},
      {"deaf", QR_FAULT_SWITCH, &out->deaf, 0},
      {"fail", QR_FAULT_RATE, &out->fail, 0},
      {"delay", QR_FAULT_RATE, &out->delay, 0},
      {"delay_ms", QR_FAULT_NUMBER, &out->delay_ms, DELAY_MS_MAX},
      {"open_fail", QR_FAULT_NUMBER, &out->open_fail, QR_FAULT_RATE_MAX},
      {"look", QR_FAULT_FLAG, &out->look, 0},
  };
  *out = (qr_error_settings_t){.inner = {.name = "cpu"}};
  int r = qr_fault_options("accel error", options, ',', known, QR_ARRAY_CNT(known), why, why_sz);
  if (!r && out->delay_ms && !out->delay) out->delay = 1;
  return r;
}

qr_error_fate_t qr_error_fate(const qr_error_settings_t *s, uint64_t queue, uint64_t job) {
  uint64_t lots = qr_fault_lots(qr_fault_lots(s->seed, queue), job);
  qr_error_fate_t f;
  f.corrupt = qr_fault_hits(&lots, s->corrupt);
  f.drop = qr_fault_hits(&lots, s->drop);
  f.fail = qr_fault_hits(&lots, s->fail);
  f.delay = qr_fault_hits(&lots, s->delay);
  f.where = qr_splitmix_next(&lots);
  return f;
}

void qr_error_flip(void *bytes, size_t sz, uint64_t where) {
  uint8_t *p = bytes;
  if (sz) p[where / 8 % sz] ^= (uint8_t)(1u << (where & 7));
}
