#include "port/xclbin.h"

#include <stdio.h>

#include "base/err.h"

/* Layout of the file, little-endian; the writer in hls/emu asserts the same against XRT's header.
 */
#define HEADER_OFF 304u
#define MODE_OFF (HEADER_OFF + 28u)
#define PLATFORM_OFF (HEADER_OFF + 48u)
#define UUID_OFF (HEADER_OFF + 112u)
#define SECTION_CNT_OFF (HEADER_OFF + 144u)
#define SECTIONS_OFF 456u
#define SECTION_SZ 40u
#define SECTION_MAX_CNT 1024u
#define KIND_IP_LAYOUT 8u
#define IP_SZ 80u
#define IP_FIRST_OFF 8u
#define IP_NAME_OFF 16u
#define IP_NAME_SZ 64u
#define IP_MAX_CNT 1024u
#define IP_TYPE_KERNEL 1u

bool qr_xclbin_word(const char *s) {
  if (!*s) return false;
  for (; *s; s++) {
    bool alnum = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9');
    if (!alnum && !strchr("._:+-/", *s)) return false;
  }
  return true;
}

const char *qr_xclbin_target_str(enum qr_xclbin_target t) {
  static const char *const names[QR_XCLBIN_TARGET_CNT] = {"hw", "hw_emu", "sw_emu"};
  return (unsigned)t < QR_XCLBIN_TARGET_CNT ? names[t] : "?";
}

static int refuse(char *why, size_t why_sz, const char *text) {
  snprintf(why, why_sz, "not a usable xclbin: %s", text);
  return QR_ERR_FORMAT;
}

/* The kernel's name is what precedes the colon of "kernel:instance". */
static int add_kernel(qr_xclbin_t *x, const uint8_t *name) {
  char text[IP_NAME_SZ + 1];
  memcpy(text, name, IP_NAME_SZ);
  text[IP_NAME_SZ] = 0;
  if (x->unit_cnt == QR_XCLBIN_UNIT_MAX_CNT || !qr_xclbin_word(text)) return QR_ERR_FORMAT;
  memcpy(x->units[x->unit_cnt++], text, sizeof text);
  char *colon = strchr(text, ':');
  if (colon) *colon = 0;
  size_t n = strlen(text);
  if (n >= QR_XCLBIN_KERNEL_NAME_SZ || !qr_xclbin_word(text)) return QR_ERR_FORMAT;
  uint32_t i = 0;
  while (i < x->kernel_cnt && strcmp(x->kernels[i].name, text) < 0) i++;
  if (i < x->kernel_cnt && !strcmp(x->kernels[i].name, text)) {
    x->kernels[i].cu_cnt++;
    return QR_OK;
  }
  if (x->kernel_cnt == QR_XCLBIN_KERNEL_MAX_CNT) return QR_ERR_FULL;
  memmove(&x->kernels[i + 1], &x->kernels[i], (x->kernel_cnt - i) * sizeof x->kernels[0]);
  memset(&x->kernels[i], 0, sizeof x->kernels[i]);
  memcpy(x->kernels[i].name, text, n + 1);
  x->kernels[i].cu_cnt = 1;
  x->kernel_cnt++;
  return QR_OK;
}

static int read_kernels(const uint8_t *p, size_t sz, qr_xclbin_t *x, char *why, size_t why_sz) {
  uint32_t cnt = sz >= IP_FIRST_OFF ? qr_ld32(p) : 0;
  if (cnt > IP_MAX_CNT || sz < IP_FIRST_OFF + (size_t)cnt * IP_SZ)
    return refuse(why, why_sz, "its list of kernels is cut off");
  for (uint32_t i = 0; i < cnt; i++) {
    const uint8_t *ip = p + IP_FIRST_OFF + (size_t)i * IP_SZ;
    if (qr_ld32(ip) == IP_TYPE_KERNEL && add_kernel(x, ip + IP_NAME_OFF))
      return refuse(why, why_sz, "too many kernels, or a kernel's name is no word");
  }
  return QR_OK;
}

static bool read_target(uint32_t mode, enum qr_xclbin_target *out) {
  /* 0..3 are for hardware, 4 and 6 for hardware emulation, 5 for software emulation */
  *out = mode <= 3 ? QR_XCLBIN_HW : mode == 5 ? QR_XCLBIN_SW_EMU : QR_XCLBIN_HW_EMU;
  return mode <= 6;
}

int qr_xclbin_read(const uint8_t *p, size_t sz, qr_xclbin_t *out, char *why, size_t why_sz) {
  memset(out, 0, sizeof *out);
  if (sz < SECTIONS_OFF || memcmp(p, "xclbin2", 8)) return refuse(why, why_sz, "no xclbin2 header");
  if (qr_ld64(p + HEADER_OFF) != sz) return refuse(why, why_sz, "its length is not the file's");
  if (!read_target(qr_ld16(p + MODE_OFF), &out->target)) return refuse(why, why_sz, "unknown mode");
  memcpy(out->platform, p + PLATFORM_OFF, QR_XCLBIN_PLATFORM_SZ - 1);
  memcpy(out->uuid, p + UUID_OFF, sizeof out->uuid);
  if (!qr_xclbin_word(out->platform)) return refuse(why, why_sz, "its platform's name is no word");
  uint32_t cnt = qr_ld32(p + SECTION_CNT_OFF);
  if (cnt > SECTION_MAX_CNT || sz < SECTIONS_OFF + (size_t)cnt * SECTION_SZ)
    return refuse(why, why_sz, "its table of sections is cut off");
  for (uint32_t i = 0; i < cnt; i++) {
    const uint8_t *s = p + SECTIONS_OFF + (size_t)i * SECTION_SZ;
    uint64_t off = qr_ld64(s + 24), len = qr_ld64(s + 32);
    if (off > sz || len > sz - off) return refuse(why, why_sz, "a section lies outside the file");
    if (qr_ld32(s) != KIND_IP_LAYOUT) continue;
    int err = out->kernel_cnt ? refuse(why, why_sz, "it lists its kernels twice")
                              : read_kernels(p + off, len, out, why, why_sz);
    if (err) return err;
  }
  return out->kernel_cnt ? QR_OK : refuse(why, why_sz, "no kernel in it");
}
