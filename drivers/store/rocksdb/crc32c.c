#include "crc32c.h"

#include <pthread.h>
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

/* The instruction's result comes after three cycles and another can begin in each of them: three
   lanes at a time, and their checksums joined. A lane's joining is a multiplication that depends on
   its length alone, so it is a table. */
#define LANE_SZ 2048u

static uint32_t join[4][256]; /* [k][v]: of the state v << 8 * k, after LANE_SZ bytes of zero */
static pthread_once_t join_once = PTHREAD_ONCE_INIT;

TARGET static void make_join(void) {
  for (uint32_t k = 0; k < 4; k++) {
    for (uint32_t v = 0; v < 256; v++) {
      uint64_t state = (uint64_t)v << 8 * k;
      for (uint32_t i = 0; i < LANE_SZ; i += 8) state = STEP8(state, 0);
      join[k][v] = (uint32_t)state;
    }
  }
}

static uint64_t after_lane(uint64_t s) {
  return join[0][s & 255] ^ join[1][s >> 8 & 255] ^ join[2][s >> 16 & 255] ^ join[3][s >> 24];
}

static uint64_t word_at(const uint8_t *p) {
  uint64_t word;
  memcpy(&word, p, sizeof word);
  return word;
}

TARGET uint32_t rocks_crc32c(uint32_t crc, const void *data, size_t sz) {
  const uint8_t *p = data;
  uint64_t state = crc ^ 0xffffffffu;
  pthread_once(&join_once, make_join);
  for (; sz >= 3 * LANE_SZ; sz -= 3 * LANE_SZ, p += 3 * LANE_SZ) {
    uint64_t a = state, b = 0, c = 0;
    for (size_t i = 0; i < LANE_SZ; i += 8) {
      a = STEP8(a, word_at(p + i));
      b = STEP8(b, word_at(p + LANE_SZ + i));
      c = STEP8(c, word_at(p + 2 * LANE_SZ + i));
    }
    state = after_lane(after_lane(a) ^ b) ^ c;
  }
  for (; sz >= 8; sz -= 8, p += 8) state = STEP8(state, word_at(p));
  for (; sz; sz--) state = STEP1(state, *p++);
  return (uint32_t)state ^ 0xffffffffu;
}
