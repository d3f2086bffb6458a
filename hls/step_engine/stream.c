/* Units that stream whole tensors, a line of 64 bytes a cycle. Scratch buffers are padded to whole
   lines, so a last line is worked on to its end; the model is not, so its tail goes element by
   element. */
#include "engine.h"
#include "fixed.h"

static int8_t w7_of(int16_t master) {
#pragma HLS INLINE
  return (int8_t)qr_eng_clip((master + 256) >> 9, QR_ENG_I7_MIN, QR_ENG_I7_MAX);
}

void qr_eng_w7(const int16_t *model, uint32_t src, int8_t *s8, uint32_t dst, uint32_t cnt) {
  for (uint32_t g = 0; g < cnt >> 5; g++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 16384
    for (uint32_t i = 0; i < 32; i++) {
#pragma HLS UNROLL
      s8[((uint64_t)(dst >> 5) << 5) + ((uint64_t)g << 5) + i] =
          w7_of(model[((uint64_t)(src >> 5) << 5) + ((uint64_t)g << 5) + i]);
    }
  }
  for (uint32_t i = cnt & ~31u; i < cnt; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 0 max = 31
    s8[dst + i] = w7_of(model[src + i]);
  }
}

/* One line: x bounded to leave room, plus u of [-d, d] made from four bits. The product is of 5 by
   6 bits and belongs in LUTs. */
static void dither_line(int8_t *s8, uint32_t src, uint32_t dst, uint32_t line, int32_t d,
                        const uint8_t bits[QR_ENG_PANEL], bool high) {
#pragma HLS INLINE
  int16_t width = (int16_t)(2 * d + 1), lo = (int16_t)(QR_ENG_I7_MIN + d),
          hi = (int16_t)(QR_ENG_I7_MAX - d);
  for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
    int16_t n = high ? bits[i] >> 4 : bits[i] & 15;
    int16_t u = (int16_t)((2 * n - 15) * width + 16);
#pragma HLS BIND_OP variable = u op = mul impl = fabric
    int16_t x = s8[((uint64_t)((src >> 6) + line) << 6) + i];
    x = x < lo ? lo : x;
    x = x > hi ? hi : x;
    s8[((uint64_t)((dst >> 6) + line) << 6) + i] = (int8_t)(x + (u >> 5));
  }
}

/* 64 bytes of the stream serve two lines: their low halves the first, their high halves the next.
 */
void qr_eng_dither(const qr_eng_ars_t *ars, uint32_t stream, int32_t d, int8_t *s8, uint32_t src,
                   uint32_t dst, uint32_t cnt) {
  uint32_t lines = (cnt + 63) >> 6;
  for (uint32_t l = 0; l < lines; l += 2) {
#pragma HLS PIPELINE II = 2
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 8192
#pragma HLS DEPENDENCE variable = s8 inter false
    uint8_t bits[QR_ENG_PANEL] = {0};
#pragma HLS ARRAY_PARTITION variable = bits complete
    for (uint32_t b = 0; b < 4 && d; b++) {
#pragma HLS UNROLL
      uint32_t w[4];
      qr_eng_ars_block(ars, stream, 2 * l + b, w);
      for (uint32_t i = 0; i < 16; i++) {
#pragma HLS UNROLL
        bits[16 * b + i] = (uint8_t)qr_eng_byte(w, i);
      }
    }
    dither_line(s8, src, dst, l, d, bits, false);
    if (l + 1 < lines) dither_line(s8, src, dst, l + 1, d, bits, true);
  }
}

uint32_t qr_eng_max(const int32_t *s32, uint32_t src, uint32_t cnt) {
  uint32_t most = 0;
  for (uint32_t g = 0; g < (cnt + 15) >> 4; g++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 65536
    for (uint32_t i = 0; i < 16; i++) {
#pragma HLS UNROLL
      uint32_t a = qr_eng_abs(s32[((uint64_t)((src >> 4) + g) << 4) + i]);
      if (16 * g + i < cnt && a > most) most = a;
    }
  }
  return most;
}

void qr_eng_quant(const qr_eng_ars_t *ars, uint32_t stream, int32_t shift, const int32_t *s32,
                  uint32_t src, int8_t *s8, uint32_t dst, uint32_t cnt) {
  const qr_eng_round_t round = qr_eng_round_of(shift);
  for (uint32_t g = 0; g < (cnt + 15) >> 4; g++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 65536
    uint32_t w[4];
    qr_eng_ars_block(ars, stream, g, w);
    for (uint32_t i = 0; i < 16; i++) {
#pragma HLS UNROLL
      int32_t v = qr_eng_round(s32[((uint64_t)((src >> 4) + g) << 4) + i], round,
                               (int32_t)qr_eng_byte(w, i));
      s8[((uint64_t)((dst >> 4) + g) << 4) + i] =
          (int8_t)qr_eng_clip32(v, QR_ENG_I7_MIN, QR_ENG_I7_MAX);
    }
  }
}

void qr_eng_copy_model(const int16_t *from, int16_t *to, uint32_t cnt) {
  for (uint32_t g = 0; g < cnt >> 5; g++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 16384
    for (uint32_t i = 0; i < 32; i++) {
#pragma HLS UNROLL
      to[((uint64_t)g << 5) + i] = from[((uint64_t)g << 5) + i];
    }
  }
  for (uint32_t i = cnt & ~31u; i < cnt; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 0 max = 31
    to[i] = from[i];
  }
}
