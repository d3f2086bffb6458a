/* The step engine as an emulated bitstream: its registers decoded as the hardware would, and the
   kernel's C called natively. Built with the kernel into the object that an xclbin carries. */
#include <string.h>

#include "emu_kernel.h"
#include "hls/common/qr_engine_abi.h"

extern const qr_emu_kernel_t qr_emu_kernels[];

static uint32_t word(const uint8_t *regs, uint32_t arg) {
  uint32_t v;
  memcpy(&v, regs + qr_engine_reg(arg), sizeof v);
  return v;
}

/* Host address of a pointer argument's buffer; NULL if the card's memory does not hold all of it.
 */
static void *buffer(const qr_emu_mem_t *mem, const uint8_t *regs, uint32_t arg, uint64_t sz) {
  uint64_t addr;
  memcpy(&addr, regs + qr_engine_reg(arg), sizeof addr);
  return mem->at(mem->ctx, addr, sz);
}

static int run(const qr_emu_mem_t *mem, const uint8_t regs[QR_EMU_WINDOW_SZ]) {
  uint32_t job_cnt = word(regs, QR_ENGINE_ARG_JOB_CNT), rows = word(regs, QR_ENGINE_ARG_POOL_ROWS),
           stride = word(regs, QR_ENGINE_ARG_ROW_STRIDE),
           table_cnt = word(regs, QR_ENGINE_ARG_TABLE_CNT),
           model_cnt = word(regs, QR_ENGINE_ARG_MODEL_CNT),
           s8_cnt = word(regs, QR_ENGINE_ARG_S8_CNT), s32_cnt = word(regs, QR_ENGINE_ARG_S32_CNT),
           out_cnt = word(regs, QR_ENGINE_ARG_OUT_CNT);
  const uint32_t *prog = buffer(mem, regs, QR_ENGINE_ARG_PROG, QR_ENGINE_PROG_CNT * 4ull);
  const uint32_t *job = buffer(mem, regs, QR_ENGINE_ARG_JOB, job_cnt * 4ull);
  const int8_t *pool = buffer(mem, regs, QR_ENGINE_ARG_POOL, (uint64_t)rows * stride);
  const uint32_t *table = buffer(mem, regs, QR_ENGINE_ARG_TABLE, table_cnt * 4ull);
  const int16_t *model_in = buffer(mem, regs, QR_ENGINE_ARG_MODEL_IN, model_cnt * 2ull);
  int8_t *s8 = buffer(mem, regs, QR_ENGINE_ARG_S8, s8_cnt);
  const int8_t *a8 = buffer(mem, regs, QR_ENGINE_ARG_A8, s8_cnt);
  const int8_t *b8 = buffer(mem, regs, QR_ENGINE_ARG_B8, s8_cnt);
  int32_t *s32 = buffer(mem, regs, QR_ENGINE_ARG_S32, s32_cnt * 4ull);
  uint32_t *out = buffer(mem, regs, QR_ENGINE_ARG_OUT, out_cnt * 4ull);
  int16_t *model = buffer(mem, regs, QR_ENGINE_ARG_MODEL, model_cnt * 2ull);
  if (!prog || !job || !pool || !table || !model_in || !s8 || !a8 || !b8 || !s32 || !out || !model)
    return -1;
  qr_step_engine(prog, job, pool, table, model_in, model, s8, a8, b8, s32, out, job_cnt, rows,
                 stride, table_cnt, model_cnt, s8_cnt, s32_cnt, out_cnt);
  return 0;
}

const qr_emu_kernel_t qr_emu_kernels[] = {{QR_ENGINE_KERNEL_NAME, run}, {0}};
