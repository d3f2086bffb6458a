/* AVX-512 with VNNI, VBMI and VAES: Ice Lake, Zen 4 and later. */
#include "kern_avx512_draw.h"
#include "kern_avx512_gemm.h"
#include "kern_plain.h"

static bool supported(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("vaes");
}

static void dither(int8_t *dst, const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                   const qr_ars_t *s) {
  plain_dither_by(draw, dst, src, at, cnt, d, s);
}

static void round_e(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                    uint32_t n, const qr_cpu_round_t *p, const qr_ars_t *s) {
  plain_round_by(draw, dst, sum, e, at, rows, n, p, s);
}

const qr_cpu_kern_t qr_cpu_kern_avx512 = {
    .name = "avx512",
    .supported = supported,
    .draw = draw,
    .w7 = plain_w7,
    .dither = dither,
    .pack = plain_pack,
    .pack_trans = plain_pack_trans,
    .sums = plain_sums,
    .interleave = plain_interleave,
    .gemm = gemm,
    .digest = plain_digest,
    .act = plain_act,
    .mask = plain_mask,
    .gather = plain_gather,
    .round = round_e,
    .update = plain_update,
};
