/* What the draw kernel needs of ARS4x32-5 besides its own rounds (host/base/ars.h). */
#include <stdio.h>

#include "base/ars.h"
#include "opencl.h"

static uint32_t rotl(uint32_t x, uint32_t n) { return n ? x << n | x >> (32 - n) : x; }

/* MixColumns of (s, 0, 0, 0), row 0 in the low byte. */
static uint32_t mixed(uint32_t s) {
  uint32_t twice = (s << 1 ^ (s >> 7) * 0x1b) & 255;
  return twice | s << 8 | s << 16 | (twice ^ s) << 24;
}

/* What byte b of row r adds to its column after SubBytes and MixColumns. */
static uint32_t added(uint32_t b, uint32_t r) { return rotl(mixed(qr_ars_sbox[b & 255]), 8 * r); }

static void round_key(const qr_hash_t *sigma, uint32_t round, uint32_t out[4]) {
  uint64_t lo = qr_ld64(sigma->b) + round * QR_ARS_WEYL_LO,
           hi = qr_ld64(sigma->b + 8) + round * QR_ARS_WEYL_HI;
  out[0] = (uint32_t)lo, out[1] = (uint32_t)(lo >> 32);
  out[2] = (uint32_t)hi, out[3] = (uint32_t)(hi >> 32);
}

void qr_ocl_keys(const qr_hash_t *sigma, qr_ocl_keys_t *out) {
  uint32_t k[4];
  memset(out, 0, sizeof *out);
  round_key(sigma, 0, k);
  out->key0 = k[0];
  for (uint32_t i = 0; i < 4; i++) {
    round_key(sigma, i + 2, out->round[i]);
    for (uint32_t bit = 0; bit < 128; bit++) {
      uint32_t constant = 0x63u >> (bit & 7) & 1, b = out->round[i][bit / 32] >> (bit & 31) & 1;
      out->plane[i][bit][0] = out->plane[i][bit][1] = 0u - (b ^ constant);
    }
  }
}

void qr_ocl_heads(const qr_hash_t *sigma, const uint32_t *streams, uint32_t cnt, uint32_t k,
                  uint32_t *out) {
  uint32_t k0[4], k1[4];
  round_key(sigma, 0, k0);
  round_key(sigma, 1, k1);
  for (uint32_t i = 0; i < cnt; i++, out += 4) {
    uint32_t w[4] = {0, (streams[i] | (k & 0xffff)) ^ k0[1], qr_ld32(sigma->b + 16) ^ k0[2],
                     qr_ld32(sigma->b + 20) ^ k0[3]};
    for (uint32_t col = 0; col < 4; col++) {
      out[col] = k1[col];
      for (uint32_t r = 0; r < 4; r++) /* word 0 is the block's */
        if ((col + r) & 3) out[col] ^= added(w[(col + r) & 3] >> (8 * r), r);
    }
  }
}

size_t qr_ocl_table(char *out, size_t out_sz) {
  size_t n = (size_t)snprintf(out, out_sz, "#define QR_OCL_TABLE ");
  for (uint32_t i = 0; i < 256; i++)
    n += (size_t)snprintf(out + n, out_sz - n, "%s0x%08xu", i ? "," : "", mixed(qr_ars_sbox[i]));
  return n + (size_t)snprintf(out + n, out_sz - n, "\n");
}
