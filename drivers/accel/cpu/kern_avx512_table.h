/* The table of AVX-512 kernels; the including file names it and says when it runs. */
#include "kern_avx512_gemm.h"
#include "kern_avx512_pack.h"
#include "kern_avx512_round.h"
#include "kern_avx512_thin.h"

static bool supported(void);

const qr_cpu_kern_t KERN_TABLE = {
    .name = KERN_NAME,
    .supported = supported,
    .draw = draw,
    .w7 = w7,
    .dither = dither,
    .pack = pack,
    .pack_trans = pack_trans,
    .sums = sums,
    .image = plain_image,
    .image4 = image4,
    .gemm = gemm,
    .thin = thin,
    .thin_back = thin_back,
    .digest = digest,
    .act = act,
    .mask = mask,
    .round = round_e,
    .update = update,
};

static bool has_vnni(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("aes");
}
