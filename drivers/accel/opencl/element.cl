/* The ops of a step that work element by element, and the packing of operands. One kernel does them
   all: a launch is a list of tasks that do not depend on each other, and each work-group finds the
   one it belongs to. A work-item does `runs` units of its task. What a unit is, is in task.h. */

SR(int)
SR(int16)

typedef struct {
  uint from, to; /* units */
} span_t;

/* FORM, PACK_K, PACK_D: sixteen elements from e on of a tensor, weights brought to w7, dithered.
   Draws of sixteen elements that begin at a multiple of sixteen lie side by side (host/base/ars.h).
 */

static char16 source(MEM, TASK, uint e) {
  if (!(t->flags & QR_OCL_W7)) return vload16(0, AT(const char, t->src) + e);
  int16 w = (convert_int16(vload16(0, AT(const short, t->src) + e)) + 256) >> 9;
  return convert_char16(clamp(w, (int16)(-64), (int16)(63)));
}

static uchar16 nibbles(MEM, TASK, uint e) {
  __global const uchar *d = AT(const uchar, t->draw);
  uchar v[RUN];
  if (!(e & 15)) {
    uchar16 r = vload16(0, d + (e >> 7) * 64 + (e & 63));
    return e & 64 ? r >> (uchar)4 : r & (uchar)15;
  }
  for (uint i = 0; i < RUN; i++) {
    uint x = e + i, r = d[(x >> 7) * 64 + (x & 63)];
    v[i] = (uchar)(x & 64 ? r >> 4 : r & 15);
  }
  return vload16(0, v);
}

static char16 formed(MEM, TASK, uint e) {
  char16 x = source(mem, t, e);
  if (!(t->flags & QR_OCL_DITHER)) return x;
  short d = (short)t->p0;
  short16 u = convert_short16(nibbles(mem, t, e)) * (short)(4 * d + 2) + (short)(1 - 30 * d);
  short16 v = clamp(convert_short16(x), (short16)((short)(-64 + d)), (short16)((short)(63 - d)));
  return convert_char16(v + (u >> (short)5));
}

static void form(MEM, TASK, span_t s) {
  for (uint u = s.from; u < s.to; u++)
    vstore16(formed(mem, t, u * RUN), 0, AT(char, t->dst) + u * RUN);
}

/* Words of sixteen neighbours along k. */
#if GROUP == 4
typedef uint4 words_t;
#define AS_WORDS(x) as_uint4(x)
#else
typedef uint8 words_t;
#define AS_WORDS(x) as_uint8(convert_short16(x))
#endif

static void put_words(__global uint *dst, char16 x) {
  union {
    words_t v;
    uint w[WORDS];
  } o;
  o.v = AS_WORDS(x);
  for (uint i = 0; i < WORDS; i++) dst[i * RUN] = o.w[i];
}

static void pack_k(MEM, TASK, span_t s) {
  const char16 place = (char16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  uint m = t->m, k = t->n, groups = t->groups, runs = (k + RUN - 1) / RUN;
  for (uint u = s.from; u < s.to; u++) {
    uint r = u % RUN, run = u / RUN % runs, panel = u / RUN / runs, row = panel * RUN + r;
    if (row >= m) continue;
    char16 x = formed(mem, t, row * k + run * RUN);
    uint left = k - run * RUN;
    if (left < RUN) x = select((char16)0, x, place < (char16)(char)left);
    put_words(AT(uint, t->dst) + (panel * groups + run * WORDS) * RUN + r, x);
  }
}

/* Elements of one row after another become neighbours in a word. */
#if GROUP == 4
#define JOIN_ROWS(N, x)                                                                            \
  (JOIN(convert_uint, N)(JOIN(as_uchar, N)(x[0])) |                                                \
   JOIN(convert_uint, N)(JOIN(as_uchar, N)(x[1])) << 8 |                                           \
   JOIN(convert_uint, N)(JOIN(as_uchar, N)(x[2])) << 16 |                                          \
   JOIN(convert_uint, N)(JOIN(as_uchar, N)(x[3])) << 24)
#else
#define JOIN_ROWS(N, x) ((JOIN(convert_uint, N)(x[0]) & 0xffff) | JOIN(convert_uint, N)(x[1]) << 16)
#endif

static void pack_d(MEM, TASK, span_t s) {
  uint k = t->m, n = t->n, groups = t->groups, runs = (n + RUN - 1) / RUN;
  for (uint u = s.from; u < s.to; u++) {
    uint run = u % runs, group = u / runs;
    char16 x[GROUP];
    for (uint i = 0; i < GROUP; i++) {
      uint row = group * GROUP + i;
      x[i] = row < k ? formed(mem, t, row * n + run * RUN) : (char16)0;
    }
    vstore16(JOIN_ROWS(16, x), run * groups + group, AT(uint, t->dst));
  }
}

/* Convolution addressing: where the rows of a product read, row by row. */
typedef struct {
  uint sample, y, x; /* output position */
} place_t;

static place_t place_of(TASK, uint row) {
  uint pos_cnt = t->out_h * t->out_w, pos = row % pos_cnt;
  return (place_t){row / pos_cnt, pos / t->out_w, pos % t->out_w};
}

static void next_place(TASK, place_t *p) {
  if (++p->x < t->out_w) return;
  p->x = 0;
  if (++p->y < t->out_h) return;
  p->y = 0;
  p->sample++;
}

/* v in -1 .. n, on a ring of n. */
static uint around(int v, uint n) { return v < 0 ? v + n : v >= (int)n ? v - n : v; }

/* Offsets, in elements, of the lines and columns that the taps of an output position read. */
typedef struct {
  uint y[3], x[3];
} taps_t;

static taps_t taps_of(TASK, place_t p) {
  taps_t o;
  for (int i = 0; i < 3; i++) {
    o.y[i] = (p.sample * t->h + around((int)(p.y * t->sy) + i - 1, t->h)) * t->w * t->c;
    o.x[i] = around((int)(p.x * t->sx) + i - 1, t->w) * t->c;
  }
  return o;
}

#if GROUP == 4
#define WORDS_OF_8(x) as_uint2(x)
typedef uint2 words8_t;
#else
#define WORDS_OF_8(x) as_uint4(convert_short8(x))
typedef uint4 words8_t;
#endif

/* Element k of row r of a packed operand. */
#if GROUP == 4
#define PACKED(r, k)                                                                               \
  AT(char, t->dst)[(((r) / RUN * t->groups + (k) / GROUP) * RUN + (r) % RUN) * GROUP + (k) % GROUP]
#else
#define PACKED(r, k)                                                                               \
  AT(short, t->dst)[(((r) / RUN * t->groups + (k) / GROUP) * RUN + (r) % RUN) * GROUP + (k) % GROUP]
#endif

/* A row of a convolution whose channels do not come in eights, which no network has. */
static void conv_row(MEM, TASK, uint row, int trans) {
  taps_t from = taps_of(t, place_of(t, row));
  for (uint tap = 0; tap < 9; tap++)
    for (uint ch = 0; ch < t->c; ch++) {
      char x = AT(const char, t->src)[from.y[tap / 3] + from.x[tap % 3] + ch];
      uint col = tap * t->c + ch;
      if (trans)
        PACKED(col, row) = x;
      else
        PACKED(row, col) = x;
    }
}

static void conv(MEM, TASK, span_t s) {
  uint m = t->m, c = t->c, groups = t->groups;
  if (c % 8) {
    for (uint row = s.from * RUN; row < min(m, s.to * RUN); row++) conv_row(mem, t, row, 0);
    return;
  }
  for (uint u = s.from; u < s.to; u++) {
    place_t p = place_of(t, u * RUN);
    for (uint r = 0; r < RUN && u * RUN + r < m; r++, next_place(t, &p)) {
      taps_t from = taps_of(t, p);
      __global uint *dst = AT(uint, t->dst) + u * groups * RUN + r;
      for (uint tap = 0; tap < 9; tap++) {
        __global const char *src = AT(const char, t->src) + from.y[tap / 3] + from.x[tap % 3];
        for (uint ch = 0; ch < c; ch += 8, dst += 8 / GROUP * RUN) {
          words8_t w = WORDS_OF_8(vload8(0, src + ch));
          dst[0] = w.s0;
          dst[RUN] = w.s1;
#if GROUP == 2
          dst[2 * RUN] = w.s2;
          dst[3 * RUN] = w.s3;
#endif
        }
      }
    }
  }
}

/* m rows are the inner dimension; its columns are rows of the operand. */
static void conv_t(MEM, TASK, span_t s) {
  uint k = t->m, c = t->c, groups = t->groups;
  if (c % 8) {
    for (uint row = s.from * RUN; row < min(k, s.to * RUN); row++) conv_row(mem, t, row, 1);
    return;
  }
  for (uint u = s.from; u < s.to; u++) {
    place_t p = place_of(t, u * RUN);
    for (uint row = u * RUN; row < min(k, u * RUN + RUN); row += GROUP) {
      taps_t from[GROUP];
      for (uint i = 0; i < GROUP; i++, next_place(t, &p)) from[i] = taps_of(t, p);
      for (uint tap = 0; tap < 9; tap++)
        for (uint ch = 0; ch < c; ch += 8) {
          uint j = tap * c + ch;
          char8 x[GROUP];
          for (uint i = 0; i < GROUP; i++) {
            uint at = from[i].y[tap / 3] + from[i].x[tap % 3] + ch;
            x[i] = row + i < k ? vload8(0, AT(const char, t->src) + at) : (char8)0;
          }
          vstore8(JOIN_ROWS(8, x), 0,
                  AT(uint, t->dst) + (j / RUN * groups + row / GROUP) * RUN + j % RUN);
        }
    }
  }
}

/* After a product. */

static void act(MEM, TASK, span_t s) {
  __global const int *bias = AT(const int, t->aux);
  for (uint u = s.from; u < s.to; u++)
    for (uint e = u * RUN; e < u * RUN + RUN; e++) {
      int b = bias[e % t->n];
      long v = (long)AT(const int, t->src)[e] + HALF_UP(b, t->p1);
      if (v < 0) v >>= 3;
      long a = ((v < 0 ? -v : v) + (1l << (t->p0 - 1))) >> t->p0;
      AT(char, t->dst)[e] = (char)clamp(v < 0 ? -a : a, -64l, 63l);
    }
}

static void q_out(MEM, TASK, span_t s) {
  __global const int *bias = AT(const int, t->aux);
  for (uint u = s.from; u < s.to; u++)
    for (uint e = u * RUN; e < u * RUN + RUN; e++) {
      int b = bias[e % t->n];
      AT(uint, t->dst)[e] = ((uint)AT(int, t->src)[e] + (uint)HALF_UP(b, t->p1)) << t->p0;
    }
}

/* src Q, src1 actions, aux targets; the sum of what is not clipped away goes to number digest. */
static void td(MEM, TASK, span_t s, __global uint *sums) {
  ulong sum = 0;
  uint most = 0;
  for (uint u = s.from; u < s.to; u++) {
    __global int *e = AT(int, t->dst) + u * t->n;
    uint a = AT(uchar, t->src1)[u];
    for (uint j = 0; j < t->n; j++) e[j] = 0;
    long d = (long)AT(int, t->src)[u * t->n + a] - AT(int, t->aux)[u];
    e[a] = (int)clamp(d, -65536l, 65536l);
    sum += abs(e[a]);
    most = max(most, (uint)abs(e[a]));
  }
  add64(sums + 2 * t->digest, sum);
  if (t->reg != QR_OCL_NONE) raise_max(AT(uint, t->reg), most);
}

/* The error at a run, with what the activation of its layer makes of it. */
static int16 error_at(MEM, TASK, uint u) {
  int16 e = vload16(u, AT(const int, t->src));
  if (t->aux == QR_OCL_NONE) return e;
  int16 x = convert_int16(vload16(u, AT(const char, t->aux)));
  return select(e, e >> 3, x < 0);
}

static void mask_errors(MEM, TASK, span_t s) {
  for (uint u = s.from; u < s.to; u++) vstore16(error_at(mem, t, u), u, AT(int, t->dst));
}

static uint largest(uint16 v) {
  uint8 a = max(v.lo, v.hi);
  uint4 b = max(a.lo, a.hi);
  uint2 c = max(b.lo, b.hi);
  return max(c.x, c.y);
}

/* Elements behind the last of a tensor do not count. */
static void max_errors(MEM, TASK, span_t s) {
  uint16 most = 0;
  uint cnt = t->m * t->n, tail = 0;
  for (uint u = s.from; u < s.to; u++) {
    uint16 a = abs(error_at(mem, t, u));
    if ((u + 1) * RUN <= cnt) {
      most = max(most, a);
      continue;
    }
    uint v[RUN];
    vstore16(a, 0, v);
    for (uint i = 0; u * RUN + i < cnt; i++) tail = max(tail, v[i]);
  }
  raise_max(AT(uint, t->reg), max(tail, largest(most)));
}

/* Fraction bits after rounding go to the layer's register. */
static void quant(MEM, TASK, span_t s) {
  int shift = max(0, 24 - (int)clz(*AT(const uint, t->reg)));
  if (!s.from) AT(int, t->exp)[0] = AT(int, t->exp)[1] + t->p0 - shift;
  for (uint u = s.from; u < s.to; u++) {
    int16 r = convert_int16(vload16(u, AT(const uchar, t->draw)));
    int16 v = sr_int16(error_at(mem, t, u), shift, r);
    vstore16(convert_char16(clamp(v, (int16)(-64), (int16)(63))), u, AT(char, t->dst));
  }
}

/* Output position that reads coordinate v through a tap, or QR_OCL_NONE; p holds the reciprocal of
   the stride, 0 for 1. */
static uint source_of(int v, uint n, uint stride, uint reciprocal, uint out) {
  uint y = around(v, n), q = reciprocal ? mul_hi(y, reciprocal) : y;
  return q < out && q * stride == y ? q : QR_OCL_NONE;
}

static void col2im(MEM, TASK, span_t s) {
  uint c = t->c, pos_cnt = t->out_h * t->out_w;
  uint8 most = 0;
  for (uint u = s.from; u < s.to; u++) {
    uint x = u % t->w, y = u / t->w % t->h, sample = u / (t->w * t->h), cnt = 0;
    uint from[9], oy[3], ox[3];
    for (int i = 0; i < 3; i++) {
      oy[i] = source_of((int)y + 1 - i, t->h, t->sy, (uint)t->p0, t->out_h);
      ox[i] = source_of((int)x + 1 - i, t->w, t->sx, (uint)t->p1, t->out_w);
    }
    for (uint i = 0; i < 9; i++)
      if (oy[i / 3] != QR_OCL_NONE && ox[i % 3] != QR_OCL_NONE)
        from[cnt++] = ((sample * pos_cnt + oy[i / 3] * t->out_w + ox[i % 3]) * 9 + i) * c;
    for (uint ch = 0; ch < c; ch += 8) {
      int8 sum = 0;
      for (uint i = 0; i < cnt; i++) sum += vload8(0, AT(const int, t->src) + from[i] + ch);
      vstore8(sum, 0, AT(int, t->dst) + u * c + ch);
      if (t->aux != QR_OCL_NONE) {
        int8 a = convert_int8(vload8(0, AT(const char, t->aux) + u * c + ch));
        sum = select(sum, sum >> 3, a < 0);
      }
      most = max(most, abs(sum));
    }
  }
  if (t->reg != QR_OCL_NONE) raise_max(AT(uint, t->reg), largest((uint16)(most, most)));
}

/* Updates. */

static void col_sum(MEM, TASK, span_t s) {
  uint m = t->m, n = t->n, runs = (n + RUN - 1) / RUN;
  for (uint u = s.from; u < s.to; u++) {
    uint run = u % runs, row = u / runs * QR_OCL_SUM_ROWS, end = min(m, row + QR_OCL_SUM_ROWS);
    uint cnt = min((uint)RUN, n - run * RUN);
    int v[RUN];
    int16 sum = 0;
    for (; row < end; row++)
      sum += convert_int16(vload16(0, AT(const char, t->src) + row * n + run * RUN));
    vstore16(sum, 0, v);
    for (uint i = 0; i < cnt; i++)
      atomic_add((volatile __global int *)AT(int, t->dst) + run * RUN + i, v[i]);
  }
}

/* A bias may be any int32, so this one rounds in 64 bits. */
static long sr_long(long x, int s, long r) {
  if (s <= 0) return x * (1l << min(-s, 31));
  if (s <= 8) return ((x << (8 - s)) + r) >> 8;
  s = min(s, 62);
  return (((x + (1l << (s - 9))) >> (s - 8)) + r) >> 8;
}

static void bias_update(MEM, TASK, span_t s, uint lr_shift) {
  int shift = *AT(const int, t->exp) + t->p0 + (int)lr_shift;
  for (uint j = s.from * RUN; j < min(t->n, s.to * RUN); j++) {
    __global int *b = AT(int, t->dst) + j;
    long y = sr_long(AT(const int, t->src)[j], shift, AT(const uchar, t->draw)[j]);
    *b = (int)clamp(*b - y, (long)-t->p1, (long)t->p1);
  }
}

static void weight_update(MEM, TASK, span_t s, uint lr_shift) {
  int shift = *AT(const int, t->exp) + t->p0 + (int)lr_shift;
  uint cnt = t->m * t->n;
  for (uint u = s.from; u < s.to; u++) {
    if ((u + 1) * RUN <= cnt) {
      int16 r = convert_int16(vload16(u, AT(const uchar, t->draw)));
      int16 y = sr_int16(vload16(u, AT(const int, t->src)), shift, r);
      int16 w = convert_int16(vload16(u, AT(const short, t->dst))) - y;
      vstore16(convert_short16(clamp(w, (int16)(-32768), (int16)(32767))), u, AT(short, t->dst));
      continue;
    }
    for (uint e = u * RUN; e < cnt; e++) {
      int y = sr_int(AT(const int, t->src)[e], shift, AT(const uchar, t->draw)[e]);
      AT(short, t->dst)[e] = (short)clamp(AT(short, t->dst)[e] - y, -32768, 32767);
    }
  }
}

/* Of a product that is complete only after its launch. */
static void digest(MEM, TASK, span_t s, __global uint *sums) {
  ulong sum = 0;
  for (uint i = s.from; i < s.to; i++) {
    __global const uint *x = AT(const uint, t->src) + i * t->n,
                        *key = AT(const uint, t->key) + (i & 7) * t->n;
    ulong row = 0;
    for (uint j = 0; j < t->n; j += 2)
      row += (ulong)(x[j] ^ key[j]) * (ulong)(x[j + 1] ^ key[j + 1]);
    sum += row * (AT(const ulong, t->rho)[i >> 3] | 1);
  }
  add64(sums + 2 * t->digest, sum);
}

__kernel void element(MEM, __global const qr_ocl_task_t *tasks, uint first, uint lr_shift,
                      uint sums_off) {
  uint begin, g = (uint)get_group_id(0), at = task_of(tasks, first, g, &begin);
  TASK = tasks + at;
  __global uint *sums = AT(uint, sums_off);
  uint item = (g - begin) * (uint)get_local_size(0) + (uint)get_local_id(0);
  span_t s = {item * t->runs, min(t->unit_cnt, item * t->runs + t->runs)};
  if (s.from >= s.to) return;
  switch (t->kind) {
  case QR_OCL_ZERO:
    for (uint u = s.from; u < s.to; u++) vstore16((uint16)0, u, AT(uint, t->dst));
    break;
  case QR_OCL_FORM: form(mem, t, s); break;
  case QR_OCL_PACK_K: pack_k(mem, t, s); break;
  case QR_OCL_PACK_D: pack_d(mem, t, s); break;
  case QR_OCL_CONV: conv(mem, t, s); break;
  case QR_OCL_CONV_T: conv_t(mem, t, s); break;
  case QR_OCL_ACT: act(mem, t, s); break;
  case QR_OCL_QOUT: q_out(mem, t, s); break;
  case QR_OCL_TD: td(mem, t, s, sums); break;
  case QR_OCL_MASK: mask_errors(mem, t, s); break;
  case QR_OCL_MAX: max_errors(mem, t, s); break;
  case QR_OCL_QUANT: quant(mem, t, s); break;
  case QR_OCL_COL2IM: col2im(mem, t, s); break;
  case QR_OCL_COLSUM: col_sum(mem, t, s); break;
  case QR_OCL_BIAS: bias_update(mem, t, s, lr_shift); break;
  case QR_OCL_WEIGHT: weight_update(mem, t, s, lr_shift); break;
  case QR_OCL_DIGEST: digest(mem, t, s, sums); break;
  }
}
