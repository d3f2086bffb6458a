/* A chain for tests: small networks of both kinds under the rules of regtest, so that an attempt
   costs a fraction of a millisecond. */
#ifndef QR_TEST_SMALL_PARAMS_H
#define QR_TEST_SMALL_PARAMS_H

#include "chain/params.h"
#include "chain/target.h"

/* win_shift: one attempt in 2^win_shift wins; 0: as many as in regtest. False if the profile is not
   there. */
static inline bool small_params(qr_params_t *p, unsigned win_shift) {
  if (!qr_params_profile("regtest", p)) return false;
  qr_net_spec_t *dense = &p->tasks[0].net, *map = &p->tasks[1].net;
  dense->layers[0].out = 32;
  dense->layers[1].out = 16;
  dense->batch = 16;
  map->layers[0].out = 16;
  map->layers[1].out = 16;
  map->layers[2].out = 16;
  map->batch = 16;
  p->warmup_segments = 2;
  if (win_shift) {
    qr_u256_t t = qr_u256_from_u64(1);
    t = qr_u256_shl_sat(&t, 255 - win_shift);
    p->max_target = qr_target_compact(&t);
    p->tasks[0].work_q16 = p->tasks[1].work_q16 = 65536;
  }
  return true;
}

#endif
