/* Plain C for any machine. */
#include "kern_plain.h"

static bool supported(void) { return true; }

const qr_cpu_kern_t qr_cpu_kern_portable = {
    .name = "portable",
    .supported = supported,
    .draw = plain_draw,
    .w7 = plain_w7,
    .dither = plain_dither,
    .pack = plain_pack,
    .pack_trans = plain_pack_trans,
    .sums = plain_sums,
    .interleave = plain_interleave,
    .gemm = plain_gemm,
    .digest = plain_digest,
    .act = plain_act,
    .mask = plain_mask,
    .gather = plain_gather,
    .round = plain_round,
    .update = plain_update,
};
