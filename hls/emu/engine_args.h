/* Arguments of the step engine as its metadata names them, in the order of enum qr_engine_arg: the
   one table from which the emulated card's XML, memory connections and register decoder come. */
#ifndef QR_EMU_ENGINE_ARGS_H
#define QR_EMU_ENGINE_ARGS_H

#include "hls/common/qr_engine_abi.h"

typedef struct {
  const char *name, *type; /* as in the kernel's C */
} qr_emu_arg_t;

static const qr_emu_arg_t qr_emu_engine_args[QR_ENGINE_ARG_CNT] = {
    [QR_ENGINE_ARG_PROG] = {"prog", "const uint32_t*"},
    [QR_ENGINE_ARG_JOB] = {"job", "const uint32_t*"},
    [QR_ENGINE_ARG_POOL] = {"pool", "const int8_t*"},
    [QR_ENGINE_ARG_TABLE] = {"table", "const uint32_t*"},
    [QR_ENGINE_ARG_MODEL_IN] = {"model_in", "const int16_t*"},
    [QR_ENGINE_ARG_MODEL] = {"model", "int16_t*"},
    [QR_ENGINE_ARG_S8] = {"s8", "int8_t*"},
    [QR_ENGINE_ARG_A8] = {"a8", "const int8_t*"},
    [QR_ENGINE_ARG_B8] = {"b8", "const int8_t*"},
    [QR_ENGINE_ARG_S32] = {"s32", "int32_t*"},
    [QR_ENGINE_ARG_OUT] = {"out", "uint32_t*"},
    [QR_ENGINE_ARG_JOB_CNT] = {"job_cnt", "uint32_t"},
    [QR_ENGINE_ARG_POOL_ROWS] = {"pool_rows", "uint32_t"},
    [QR_ENGINE_ARG_ROW_STRIDE] = {"row_stride", "uint32_t"},
    [QR_ENGINE_ARG_TABLE_CNT] = {"table_cnt", "uint32_t"},
    [QR_ENGINE_ARG_MODEL_CNT] = {"model_cnt", "uint32_t"},
    [QR_ENGINE_ARG_S8_CNT] = {"s8_cnt", "uint32_t"},
    [QR_ENGINE_ARG_S32_CNT] = {"s32_cnt", "uint32_t"},
    [QR_ENGINE_ARG_OUT_CNT] = {"out_cnt", "uint32_t"},
};

#endif
