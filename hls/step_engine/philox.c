/* The generator of minibatches: Philox4x32-10, which the host draws them with too. A round is two
   products of 32 x 32 bits, of four DSPs each. A minibatch takes some 65 blocks a step, so a block
   is given sixteen cycles and its twenty products share two multipliers: 8 DSPs in place of 80. */
#include "engine.h"

void qr_eng_philox_block(const uint32_t sigma[4], uint32_t stream, uint32_t idx, uint32_t out[4]) {
#pragma HLS INLINE off
#pragma HLS PIPELINE II = 16
#pragma HLS ALLOCATION operation instances = mul limit = 2
  uint32_t c[4] = {idx, stream, sigma[2], sigma[3]}, key0 = sigma[0], key1 = sigma[1];
#pragma HLS ARRAY_PARTITION variable = c complete
  for (uint32_t r = 0; r < QR_ENG_PHILOX_ROUNDS; r++) {
#pragma HLS UNROLL
    uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
    c[0] = (uint32_t)(b >> 32) ^ c[1] ^ key0;
    c[1] = (uint32_t)b;
    c[2] = (uint32_t)(a >> 32) ^ c[3] ^ key1;
    c[3] = (uint32_t)a;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (uint32_t i = 0; i < 4; i++) {
#pragma HLS UNROLL
    out[i] = c[i];
  }
}
