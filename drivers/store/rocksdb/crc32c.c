#include "crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define TARGET __attribute__((target("sse4.2")))
#define STEP8(crc, x) _mm_crc32_u64(crc, x)
#define STEP1(crc, x) _mm_crc32_u8((uint32_t)(crc), x)
bool rocks_crc32c_usable(void) { return __builtin_cpu_supports("sse4.2"); }

#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#define TARGET __attribute__((target("+crc")))
#define STEP8(crc, x) __crc32cd((uint32_t)(crc), x)
#define STEP1(crc, x) __crc32cb((uint32_t)(crc), x)
#define HWCAP_HAS_CRC32 (1u << 7)
bool rocks_crc32c_usable(void) { return getauxval(AT_HWCAP) & HWCAP_HAS_CRC32; }

#else
#define TARGET
#define STEP8(crc, x) (crc)
#define STEP1(crc, x) (crc)
bool rocks_crc32c_usable(void) { return false; }
#endif

TARGET uint32_t rocks_crc32c(uint32_t crc, const void *data, size_t sz) {
  const uint8_t *p = data;
  uint64_t state = crc ^ 0xffffffffu;
  for (; sz >= 8; sz -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    state = STEP8(state, word);
  }
  for (; sz; sz--) state = STEP1(state, *p++);
  return (uint32_t)state ^ 0xffffffffu;
}
