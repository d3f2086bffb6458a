/* The container's reader takes any bytes; what it tells is printable and sorted. */
#include "base/assert.h"
#include "port/xclbin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  qr_xclbin_t x;
  char why[128];
  if (qr_xclbin_read(data, sz, &x, why, sizeof why)) return 0;
  QR_ASSERT(qr_xclbin_word(x.platform));
  QR_ASSERT(x.kernel_cnt && x.kernel_cnt <= QR_XCLBIN_KERNEL_MAX_CNT);
  for (uint32_t i = 0; i < x.kernel_cnt; i++) {
    QR_ASSERT(qr_xclbin_word(x.kernels[i].name) && x.kernels[i].cu_cnt);
    QR_ASSERT(!i || strcmp(x.kernels[i - 1].name, x.kernels[i].name) < 0);
  }
  return 0;
}
