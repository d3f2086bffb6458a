/* What all kernels share. Every tensor lies in one buffer, mem; a task names places in it. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define AT(type, off) ((__global type *)(mem + (off)))
#define RUN QR_OCL_RUN
#define MEM __global uchar *mem
#define TASK __global const qr_ocl_task_t *t
#define WORDS (RUN / GROUP) /* of a run along k in a packed operand */

/* The task that a work-group belongs to, and the first work-group of that task. */
static uint task_of(__global const qr_ocl_task_t *tasks, uint first, uint g, uint *begin) {
  uint i = first;
  *begin = 0;
  while (g >= tasks[i].wg_end) *begin = tasks[i++].wg_end;
  return i;
}

/* Adds to a sum mod 2^64 kept as two words; right in any order once all have been added. */
static void add64(__global uint *sum, ulong v) {
  uint lo = (uint)v, hi = (uint)(v >> 32);
  uint old = atomic_add((volatile __global uint *)sum, lo);
  hi += old + lo < old;
  if (hi) atomic_add((volatile __global uint *)sum + 1, hi);
}

static void raise_max(__global uint *reg, uint v) {
  if (v > *(volatile __global uint *)reg) atomic_max((volatile __global uint *)reg, v);
}

/* Half up of x * 2^-s for s >= 1, in 32 bits whatever x is. */
#define HALF_UP(x, s) (((x) >> min((s), 31)) + (((x) >> min((s)-1, 31)) & 1))

/* Stochastic rounding of host/step/README.md with the draw r, for s >= 1: 32 bits suffice, since
   for s <= 8 the low bits of x are taken apart. Results beyond 2^20 may be less, but stay beyond
   it. */
#define SR(T)                                                                                      \
  static T JOIN(sr_, T)(T x, int s, T r) {                                                         \
    if (s > 8) return (HALF_UP(x, s - 8) + r) >> 8;                                                \
    if (s > 0) return (x >> s) + ((((x & ((1 << s) - 1)) << (8 - s)) + r) >> 8);                   \
    int q = min(-s, 31), lim = q < 20 ? 1 << 20 >> q : 0;                                          \
    T over = select((T)0, (T)(1 << 20), x > lim) - select((T)0, (T)(1 << 20), x < -lim);           \
    return select(x << q, over, over != 0);                                                        \
  }

/* Step 4 and 5 of the page on one vector: biases at the accumulator's scale (s >= 1), activation.
 */
#define ACTIVATE(T, T8, C8)                                                                        \
  static T8 JOIN(activate_, T)(T v, int s) {                                                       \
    v = select(v, v >> 3, v < 0);                                                                  \
    T a = (T)(1 << (s - 1)) + select(v, -v, v < 0);                                                \
    a >>= s;                                                                                       \
    return C8(clamp(select(a, -a, v < 0), (T)(-64), (T)(63)));                                     \
  }
