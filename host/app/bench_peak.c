#include "app/bench_peak.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "port/clock.h"

#define SAMPLE_NS 2000000u
#define RUN_NS 100000u /* of one run within a sample, roughly */
#define RUN_MIN_CNT 8u /* a sample that was interrupted goes on for so many */

/* Twelve accumulators hide the latency of the longest chain below and leave registers for the
   operands. */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define ACC_CNT 12u

/* HIDE: what the compiler must not compute ahead or leave out. The statement is empty: it costs
   nothing and only hides where the value comes from: of each accumulator, or equal ones would be
   made once. Its constraint names a kind of register. */
#define DECLARE(i)                                                                                 \
  acc_t x##i = {0};                                                                                \
  HIDE(x##i);
#define KEEP(i) HIDE(x##i);

/* rounds times a STEP for each accumulator. STEP, HIDE, acc_t and the operand a are those of where
   this stands. */
#define RUN_ROUNDS                                                                                 \
  EACH(DECLARE)                                                                                    \
  for (uint32_t r = 0; r < rounds; r++) {                                                          \
    HIDE(a);                                                                                       \
    EACH(STEP)                                                                                     \
  }                                                                                                \
  EACH(KEEP)

#if defined(__x86_64__)

#define HIDE(x) __asm__ volatile("" : "+v"(x))

static bool has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
}

__attribute__((target("avx512f,avx512vnni"))) static uint64_t run_avx512(uint32_t rounds) {
  typedef __m512i acc_t;
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
#define STEP(i) x##i = _mm512_dpbusd_epi32(x##i, a, b);
  RUN_ROUNDS
#undef STEP
  return (uint64_t)rounds * ACC_CNT * 64;
}

#undef HIDE
#define HIDE(x) __asm__ volatile("" : "+x"(x))

static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

/* Values have seven bits, so two sums of pairs fit 16 bits together. */
__attribute__((target("avx2"))) static uint64_t run_avx2(uint32_t rounds) {
  typedef __m256i acc_t;
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
  /* a is hidden anew for each product, or equal products would be made once. */
#define STEP(i)                                                                                    \
  {                                                                                                \
    HIDE(a);                                                                                       \
    __m256i pairs = _mm256_maddubs_epi16(a, b);                                                    \
    HIDE(a);                                                                                       \
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(a, b));                                   \
    x##i = _mm256_add_epi32(x##i, _mm256_madd_epi16(pairs, one));                                  \
  }
  RUN_ROUNDS
#undef STEP
  return (uint64_t)rounds * ACC_CNT * 64;
}

/* Compilers do not all know these instructions by name for __builtin_cpu_supports. */
static bool has_avxvnni(void) {
  unsigned a, b, c, d;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}

__attribute__((target("avx2,avxvnni"))) static uint64_t run_avxvnni(uint32_t rounds) {
  typedef __m256i acc_t;
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5);
#define STEP(i) x##i = _mm256_dpbusd_avx_epi32(x##i, a, b);
  RUN_ROUNDS
#undef STEP
  return (uint64_t)rounds * ACC_CNT * 32;
}

/* The baseline of x86-64, which plain C is compiled for. */
static uint64_t run_plain(uint32_t rounds) {
  typedef __m128i acc_t;
  __m128i a = _mm_set1_epi16(3), b = _mm_set1_epi16(-5);
#define STEP(i)                                                                                    \
  HIDE(a);                                                                                         \
  x##i = _mm_add_epi32(x##i, _mm_madd_epi16(a, b));
  RUN_ROUNDS
#undef STEP
  return (uint64_t)rounds * ACC_CNT * 8;
}
#define PLAIN_DETAIL "SSE2: multiply-add of int16 pairs, add"

#else

#if defined(__aarch64__)

static bool has_neon(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }

#ifdef __clang__
#define DOT_TARGET "dotprod"
#else
#define DOT_TARGET "arch=armv8.2-a+dotprod"
#endif

#define HIDE(x) __asm__ volatile("" : "+w"(x))

__attribute__((target(DOT_TARGET))) static uint64_t run_neon(uint32_t rounds) {
  typedef int32x4_t acc_t;
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-5);
#define STEP(i) __asm__ volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(x##i) : "w"(a), "w"(b));
  RUN_ROUNDS
#undef STEP
  return (uint64_t)rounds * ACC_CNT * 16;
}

#undef HIDE
#endif

#define HIDE(x) __asm__ volatile("" : "+r"(x))

static uint64_t run_plain(uint32_t rounds) {
  typedef int32_t acc_t;
  int32_t a = 3, b = -5;
#define STEP(i)                                                                                    \
  HIDE(a);                                                                                         \
  x##i = (int32_t)((uint32_t)x##i + (uint32_t)(a * b));
  RUN_ROUNDS
  return (uint64_t)rounds * ACC_CNT;
}
#define PLAIN_DETAIL "scalar multiply and add"

#endif

static bool always(void) { return true; }

const qr_bench_peak_t qr_bench_peaks[] = {
#if defined(__x86_64__)
    {"avx512", "AVX-512 VNNI: dot product of four int8", has_avx512, run_avx512},
    {"avxvnni", "AVX-VNNI: dot product of four int8", has_avxvnni, run_avxvnni},
    {"avx2", "AVX2: multiply-adds of pairs, twice, joined, add", has_avx2, run_avx2},
#elif defined(__aarch64__)
    {"neon", "NEON: dot product of four int8", has_neon, run_neon},
#endif
    {"portable", PLAIN_DETAIL, always, run_plain},
    {0}};

double qr_bench_peak_gmac_per_s(const qr_bench_peak_t *p) {
  uint32_t rounds = 1000, run_cnt = 0;
  double best = 0;
  uint64_t began = qr_clock_mono_ns();
  for (uint64_t now = began; now - began < SAMPLE_NS || run_cnt < RUN_MIN_CNT;) {
    uint64_t mac_cnt = p->run(rounds), end = qr_clock_mono_ns();
    uint64_t ns = end > now ? end - now : 1;
    if (ns < RUN_NS / 2) {
      rounds *= 2; /* too short for the clock: the time to read it would count */
    } else {
      double gmac_per_s = (double)mac_cnt / (double)ns;
      if (gmac_per_s > best) best = gmac_per_s;
      run_cnt++;
    }
    now = end;
  }
  return best;
}
