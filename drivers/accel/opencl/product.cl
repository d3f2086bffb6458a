/* Products of packed operands. What follows a product is done where its sums are: storing, digest,
   activation, weight update. Two shapes: every work-item for itself with wide vectors (processors),
   or a work-group with its operands in local memory (everything else). */

#if QR_OCL_VECTOR
#define LANES 16
#else
#define LANES 4
#endif
#define V(type) JOIN(type, LANES)
#define HALF_LANES(type) JOIN(type, JOIN(HALF_OF_, LANES))
#define HALF_OF_16 8
#define HALF_OF_4 2
#define CONVERT(type) JOIN(convert_, V(type))
#define VLOAD JOIN(vload, LANES)
#define VSTORE JOIN(vstore, LANES)

#if QR_OCL_VECTOR
SR(int16)
ACTIVATE(int16, char16, convert_char16)
#else
SR(int4)
ACTIVATE(int4, char4, convert_char4)
#endif

/* What is the same for a whole tile. */
typedef struct {
  uint n, end, col, left; /* columns from col on, of which left exist */
  int shift;              /* of a weight update */
  V(int) bias;
} tile_t;

static tile_t tile_at(MEM, TASK, uint col, uint lr_shift) {
  tile_t c = {t->n, t->flags, col, t->n - col, 0, 0};
  if (c.end == QR_OCL_END_WEIGHT) c.shift = *AT(const int, t->exp) + t->p0 + (int)lr_shift;
  if (c.end == QR_OCL_END_ACT || c.end == QR_OCL_END_QOUT) {
    int b[LANES];
    for (uint i = 0; i < LANES; i++) b[i] = i < c.left ? AT(const int, t->aux)[col + i] : 0;
    c.bias = VLOAD(0, b);
    c.bias = HALF_UP(c.bias, t->p1);
  }
  return c;
}

/* Sum over the even columns of (x ^ key) * (its neighbour ^ key of that). */
static ulong row_digest(MEM, TASK, const tile_t *c, uint row, V(int) x) {
  __global const uint *key = AT(const uint, t->key) + (row & 7) * c->n + c->col;
  if (c->left >= LANES) {
    V(uint) y = JOIN(as_, V(uint))(x) ^ VLOAD(0, key);
    HALF_LANES(ulong)
    p = JOIN(convert_, HALF_LANES(ulong))(y.even) * JOIN(convert_, HALF_LANES(ulong))(y.odd);
#if QR_OCL_VECTOR
    ulong4 q = p.lo + p.hi;
    p.lo.lo = q.lo + q.hi;
#endif
    return p.s0 + p.s1;
  }
  uint v[LANES];
  ulong sum = 0;
  VSTORE(JOIN(as_, V(uint))(x), 0, v);
  for (uint i = 0; i < c->left; i += 2)
    sum += (ulong)(v[i] ^ key[i]) * (ulong)(v[i + 1] ^ key[i + 1]);
  return sum;
}

/* A row of which fewer elements exist than a vector has goes one by one. */
#define PUT(type, value, off)                                                                      \
  {                                                                                                \
    __global type *at = AT(type, off) + row * c->n + c->col;                                       \
    if (c->left >= LANES) {                                                                        \
      VSTORE(value, 0, at);                                                                        \
    } else {                                                                                       \
      type some[LANES];                                                                            \
      VSTORE(value, 0, some);                                                                      \
      for (uint j = 0; j < c->left; j++) at[j] = some[j];                                          \
    }                                                                                              \
  }

static void add_row(MEM, TASK, const tile_t *c, uint row, V(int) x) {
  __global int *at = AT(int, t->dst) + row * c->n + c->col;
  int v[LANES];
  VSTORE(x, 0, v);
  for (uint j = 0; j < LANES && j < c->left; j++) atomic_add((volatile __global int *)at + j, v[j]);
}

/* The largest of a row's errors, with what the activation of their layer makes of them. */
static uint row_max(MEM, TASK, const tile_t *c, uint row, V(int) e) {
  uint at = row * c->n + c->col, most = 0;
  int v[LANES];
  VSTORE(e, 0, v);
  for (uint j = 0; j < LANES && j < c->left; j++) {
    int x = t->aux != QR_OCL_NONE && AT(const char, t->aux)[at + j] < 0 ? v[j] >> 3 : v[j];
    most = max(most, (uint)abs(x));
  }
  return most;
}

static void max_rows(MEM, TASK, const tile_t *c, uint first, uint end, const V(int) * sums) {
  V(uint) most = 0;
  uint one = 0;
  for (uint row = first; row < end; row++) {
    V(int) e = sums[row - first];
    if (c->left < LANES) {
      one = max(one, row_max(mem, t, c, row, e));
      continue;
    }
    if (t->aux != QR_OCL_NONE)
      e = select(e, e >> 3,
                 CONVERT(int)(VLOAD(0, AT(const char, t->aux) + row * c->n + c->col)) < 0);
    most = max(most, abs(e));
  }
  uint v[LANES];
  VSTORE(most, 0, v);
  for (uint j = 0; j < LANES; j++) one = max(one, v[j]);
  raise_max(AT(uint, t->reg), one);
}

static void update_weights(MEM, TASK, const tile_t *c, uint row, V(int) x) {
  uint e = row * c->n + c->col;
  V(short) old;
  V(int) draw = CONVERT(int)(VLOAD(0, AT(const uchar, t->draw) + e));
  if (c->left >= LANES) {
    old = VLOAD(0, AT(const short, t->dst) + e);
  } else {
    short some[LANES];
    for (uint j = 0; j < LANES; j++) some[j] = j < c->left ? AT(const short, t->dst)[e + j] : 0;
    old = VLOAD(0, some);
  }
  V(int) w = CONVERT(int)(old) - JOIN(sr_, V(int))(x, c->shift, draw);
  PUT(short, CONVERT(short)(clamp(w, (V(int))(-32768), (V(int))(32767))), t->dst)
}

/* Ends rows of sums from row on; returns their part of the digest. */
static ulong end_rows(MEM, TASK, const tile_t *c, uint first, uint cnt, const V(int) * sums) {
  uint end = min(t->m, first + cnt);
  ulong d = 0;
  switch (c->end) {
  case QR_OCL_END_STORE:
    for (uint row = first; row < end; row++) PUT(int, sums[row - first], t->dst)
    if (t->reg != QR_OCL_NONE) max_rows(mem, t, c, first, end, sums);
    break;
  case QR_OCL_END_ADD:
    for (uint row = first; row < end; row++) add_row(mem, t, c, row, sums[row - first]);
    break;
  case QR_OCL_END_ACT:
    for (uint row = first; row < end; row++)
      PUT(char, JOIN(activate_, V(int))(sums[row - first] + c->bias, t->p0), t->dst)
    break;
  case QR_OCL_END_QOUT:
    for (uint row = first; row < end; row++) {
      V(uint) q = JOIN(as_, V(uint))(sums[row - first]) + JOIN(as_, V(uint))(c->bias);
      PUT(uint, q << (uint)t->p0, t->dst)
    }
    break;
  case QR_OCL_END_WEIGHT:
    for (uint row = first; row < end; row++) update_weights(mem, t, c, row, sums[row - first]);
    break;
  }
  if (t->digest == QR_OCL_NONE) return 0;
  for (uint row = first; row < end; row++)
    d += row_digest(mem, t, c, row, sums[row - first]) * (AT(const ulong, t->rho)[row >> 3] | 1);
  return d;
}

#if QR_OCL_VECTOR

#define ROWS QR_OCL_ROWS /* of a tile: 4, 8 or 16; two by two */
#if ROWS == 4
#define EACH(X) X(0) X(1)
#elif ROWS == 8
#define EACH(X) X(0) X(1) X(2) X(3)
#else
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#endif

/* Sums of two rows grow by two products for each of sixteen columns; a0, a1: two halves each. */
#if defined(__clang__)
#if __has_builtin(__builtin_shufflevector) && __has_builtin(__builtin_convertvector)
#define WIDE 1
#endif
#endif

#if WIDE
/* Compilers make multiply-adds of whole registers of this, and of little else. */
typedef short half32_t __attribute__((ext_vector_type(32)));
typedef int int32_lanes_t __attribute__((ext_vector_type(32)));
typedef int32_lanes_t pair_t;
#define LANES_0_15 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#define LANES_16_31 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
#define EVEN(p)                                                                                    \
  __builtin_shufflevector(p, p, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(p)                                                                                     \
  __builtin_shufflevector(p, p, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define WIDEN(x) __builtin_convertvector(x, int32_lanes_t)

static half32_t spread(uint a) {
  union {
    uint16 w;
    half32_t h;
  } u;
  u.w = (uint16)a;
  return u.h;
}

static pair_t madd(pair_t sum, uint a0, uint a1, half32_t b) {
  int32_lanes_t p = WIDEN(spread(a0)) * WIDEN(b), q = WIDEN(spread(a1)) * WIDEN(b);
  int16 s0 = EVEN(p) + ODD(p), s1 = EVEN(q) + ODD(q);
  return sum + __builtin_shufflevector(s0, s1, LANES_0_15, LANES_16_31);
}
#define LOAD_B(g) (((__global const half32_t *)b)[g])
#define NO_SUM (pair_t)(0)
#define ROW_0(p) __builtin_shufflevector(p, p, LANES_0_15)
#define ROW_1(p) __builtin_shufflevector(p, p, LANES_16_31)
#else
typedef struct {
  int16 s0, s1;
} pair_t;
typedef struct {
  short16 lo, hi;
} half32_t;

static int16 madd_row(int16 sum, uint a, half32_t b) {
  short16 w = as_short16((uint8)a);
  int16 p = convert_int16(w) * convert_int16(b.lo), q = convert_int16(w) * convert_int16(b.hi);
  return sum + (int16)(p.even + p.odd, q.even + q.odd);
}

static pair_t madd(pair_t sum, uint a0, uint a1, half32_t b) {
  return (pair_t){madd_row(sum.s0, a0, b), madd_row(sum.s1, a1, b)};
}
#define LOAD_B(g) ((half32_t){vload16(2 * (g), b), vload16(2 * (g) + 1, b)})
#define NO_SUM                                                                                     \
  (pair_t) { 0, 0 }
#define ROW_0(p) (p).s0
#define ROW_1(p) (p).s1
#endif

static ulong tile(MEM, TASK, uint row, uint col, uint from, uint to, uint lr_shift) {
  __global const uint *a = AT(const uint, t->src) + row / RUN * t->groups * RUN + row % RUN;
  __global const short *b = AT(const short, t->src1) + col / RUN * t->groups * (RUN * 2);
#define DECLARE(i) pair_t sum##i = NO_SUM;
  EACH(DECLARE)
  a += from * RUN;
  for (uint g = from; g < to; g++, a += RUN) {
    half32_t w = LOAD_B(g);
#define ADD(i) sum##i = madd(sum##i, a[2 * i], a[2 * i + 1], w);
    EACH(ADD)
  }
  int16 sums[ROWS];
#define KEEP(i) sums[2 * i] = ROW_0(sum##i), sums[2 * i + 1] = ROW_1(sum##i);
  EACH(KEEP)
  tile_t c = tile_at(mem, t, col, lr_shift);
  return end_rows(mem, t, &c, row, ROWS, sums);
}

__kernel void product(MEM, __global const qr_ocl_task_t *tasks, uint first, uint lr_shift,
                      uint sums_off) {
  uint begin, g = (uint)get_group_id(0), which = task_of(tasks, first, g, &begin);
  TASK = tasks + which;
  uint item = (g - begin) * (uint)get_local_size(0) + (uint)get_local_id(0);
  uint rows = (t->m + ROWS - 1) / ROWS, cols = (t->n + RUN - 1) / RUN, all = (t->k + 1) / 2,
       each = (all + t->parts - 1) / t->parts;
  ulong sum = 0;
  for (uint u = item * t->runs; u < min(t->unit_cnt, item * t->runs + t->runs); u++) {
    uint row = u % rows, col = u / rows % cols, part = u / rows / cols;
    sum += tile(mem, t, row * ROWS, col * RUN, part * each, min(all, part * each + each), lr_shift);
  }
  if (t->digest != QR_OCL_NONE && item * t->runs < t->unit_cnt)
    add64(AT(uint, sums_off) + 2 * t->digest, sum);
}

#else

/* A work-group of SIDE_Y * SIDE_X items makes TILE_Y * TILE_X sums; an item ROWS rows of LANES. */
#define SIDE_X (QR_OCL_TILE_X / LANES)
#define SIDE_Y (QR_OCL_TILE_Y / QR_OCL_ROWS)
#define ITEMS (SIDE_X * SIDE_Y)
#define CHUNK 8 /* groups along k that lie in local memory at a time */

#if QR_OCL_DOT == 1
#if __OPENCL_C_VERSION__ < 300
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#endif
#define DOT(a, b, sum) ((sum) + dot_4x8packed_ss_int((a), (b)))
#elif QR_OCL_DOT == 2
#pragma OPENCL EXTENSION cl_arm_integer_dot_product_accumulate_int8 : enable
#define DOT(a, b, sum) arm_dot_acc(as_char4(a), as_char4(b), (sum))
#else
static int dot4(uint a, uint b, int sum) {
  int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(b));
  return sum + p.s0 + p.s1 + p.s2 + p.s3;
}
#define DOT(a, b, sum) dot4((a), (b), (sum))
#endif

/* Panels of one operand, CHUNK groups from g on, to local memory [group][row]. */
static void fetch(__local uint *to, __global const uint *from, uint tile, uint groups, uint g,
                  uint side) {
  for (uint i = (uint)get_local_id(0); i < side * CHUNK; i += ITEMS) {
    uint panel = i / (RUN * CHUNK), in = i % (RUN * CHUNK);
    to[in / RUN * side + panel * RUN + in % RUN] =
        from[((tile * (side / RUN) + panel) * groups + g) * RUN + in];
  }
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
product(MEM, __global const qr_ocl_task_t *tasks, uint first, uint lr_shift, uint sums_off) {
  __local uint la[CHUNK * QR_OCL_TILE_Y], lb[CHUNK * QR_OCL_TILE_X];
  __local ulong sums[ITEMS];
  uint begin, wg = (uint)get_group_id(0), which = task_of(tasks, first, wg, &begin), u = wg - begin;
  TASK = tasks + which;
  uint rows = (t->m + QR_OCL_TILE_Y - 1) / QR_OCL_TILE_Y,
       cols = (t->n + QR_OCL_TILE_X - 1) / QR_OCL_TILE_X, row = u % rows, col = u / rows % cols,
       part = u / rows / cols;
  uint all = (t->k + 4 * CHUNK - 1) / (4 * CHUNK), each = (all + t->parts - 1) / t->parts,
       from = part * each, to = min(all, from + each);
  uint id = (uint)get_local_id(0), x = id % SIDE_X, y = id / SIDE_X;
  int4 sum[QR_OCL_ROWS];
  for (uint i = 0; i < QR_OCL_ROWS; i++) sum[i] = 0;

  for (uint g = from * CHUNK; g < to * CHUNK; g += CHUNK) {
    barrier(CLK_LOCAL_MEM_FENCE);
    fetch(la, AT(const uint, t->src), row, t->groups, g, QR_OCL_TILE_Y);
    fetch(lb, AT(const uint, t->src1), col, t->groups, g, QR_OCL_TILE_X);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint j = 0; j < CHUNK; j++) {
      uint4 b = vload4(j * SIDE_X + x, lb);
      for (uint i = 0; i < QR_OCL_ROWS; i++) {
        uint a = la[j * QR_OCL_TILE_Y + y * QR_OCL_ROWS + i];
        sum[i].s0 = DOT(a, b.s0, sum[i].s0);
        sum[i].s1 = DOT(a, b.s1, sum[i].s1);
        sum[i].s2 = DOT(a, b.s2, sum[i].s2);
        sum[i].s3 = DOT(a, b.s3, sum[i].s3);
      }
    }
  }

  uint at = col * QR_OCL_TILE_X + x * LANES;
  ulong d = 0;
  if (at < t->n) {
    tile_t c = tile_at(mem, t, at, lr_shift);
    d = end_rows(mem, t, &c, row * QR_OCL_TILE_Y + y * QR_OCL_ROWS, QR_OCL_ROWS, sum);
  }
  sums[id] = d;
  for (uint left = ITEMS / 2; left; left /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (id < left) sums[id] += sums[id + left];
  }
  if (!id && t->digest != QR_OCL_NONE) add64(AT(uint, sums_off) + 2 * t->digest, sums[0]);
}

#endif
