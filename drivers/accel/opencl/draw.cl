/* Makes the streams of a training step: ARS4x32-5 (host/base/ars.h), 512 blocks a work-group. What
   a stream's blocks share in the first round comes from the host as its head. Two ways to the
   S-box: a table, or its circuit on bits of 512 blocks side by side. */

#if QR_OCL_SLICED

/* The S-box without its constant, which is in the keys: bit 7 first in and out. The circuit is that
   of Boyar and Peralta (A depth-16 circuit's smaller sibling, 2010: 113 gates). */
static void sbox(const ulong8 *in, ulong8 *out) {
  ulong8 x0 = in[7], x1 = in[6], x2 = in[5], x3 = in[4], x4 = in[3], x5 = in[2], x6 = in[1],
         x7 = in[0];
  ulong8 y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, a = x1 ^ x2, y1 = a ^ x7,
         y4 = y1 ^ x3, y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, b = x4 ^ y12,
         y15 = b ^ x5, y20 = b ^ x1, y6 = y15 ^ x7, y10 = y15 ^ a, y11 = y20 ^ y9, y7 = x7 ^ y11,
         y17 = y10 ^ y11, y19 = y10 ^ y8, y16 = a ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;

  ulong8 t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2, t7 = y13 & y16,
         t9 = (y5 & y1) ^ t7, t11 = (y2 & y7) ^ t7, t12 = y9 & y11, t14 = (y14 & y17) ^ t12,
         t16 = (y8 & y10) ^ t12, t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19, t23 = t9 ^ t14 ^ y21,
         t24 = t11 ^ t16 ^ y18;
  ulong8 t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t29 = (t25 & t27) ^ t22,
         t30 = t23 ^ t24, t33 = ((t22 ^ t26) & t30) ^ t24, t36 = t24 & (t27 ^ t33),
         t37 = t36 ^ t23 ^ t33, t40 = t25 ^ (t29 & (t27 ^ t36)), t41 = t40 ^ t37, t42 = t29 ^ t33,
         t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;
  ulong8 z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7,
         z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3,
         z11 = t33 & y4, z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9,
         z16 = t45 & y14, z17 = t41 & y8;

  ulong8 u46 = z15 ^ z16, u48 = z5 ^ z13, u53 = z0 ^ z3, u54 = z6 ^ z7, u57 = z2 ^ z12 ^ u53,
         u58 = z4 ^ u46, u59 = z3 ^ u54, u62 = z7 ^ z8 ^ u58, u63 = z9 ^ z10 ^ u58, u64 = z4 ^ u59,
         u65 = z14 ^ u57 ^ u62, u66 = z1 ^ u63, s3 = u53 ^ u66;
  out[7] = u59 ^ u63;
  out[6] = u64 ^ s3;
  out[5] = z16 ^ z17 ^ u64 ^ u65;
  out[4] = s3;
  out[3] = z2 ^ z5 ^ u66;
  out[2] = z10 ^ z11 ^ u65;
  out[1] = z12 ^ u48 ^ u62;
  out[0] = u48 ^ u46 ^ u57;
}

/* Doubles in the field of AES. */
static void twice(const ulong8 *a, ulong8 *out) {
  out[0] = a[7];
  out[1] = a[0] ^ a[7];
  out[2] = a[1];
  out[3] = a[2] ^ a[7];
  out[4] = a[3] ^ a[7];
  out[5] = a[4];
  out[6] = a[5];
  out[7] = a[6];
}

/* Bit planes of a state: plane 8 * byte + bit. One round of SubBytes, ShiftRows, MixColumns (not in
   the last) and a key whose bits are 0 or all ones. */
static void round_of(const ulong8 *s, ulong8 *o, __global const ulong *key, int mix) {
  for (int col = 0; col < 4; col++) {
    ulong8 b[4][8], d[8], all[8];
    for (int r = 0; r < 4; r++) sbox(s + 8 * (4 * ((col + r) & 3) + r), b[r]);
    for (int i = 0; i < 8; i++) all[i] = mix ? b[0][i] ^ b[1][i] ^ b[2][i] ^ b[3][i] : 0;
    for (int r = 0; r < 4; r++) {
      ulong8 e[8];
      for (int i = 0; i < 8; i++) e[i] = mix ? b[r][i] ^ b[(r + 1) & 3][i] : 0;
      twice(e, d);
      for (int i = 0; i < 8; i++)
        o[8 * (4 * col + r) + i] = b[r][i] ^ all[i] ^ d[i] ^ (ulong8)(key[8 * (4 * col + r) + i]);
    }
  }
}

/* Transposes a matrix of 8x8 bits (or of bytes) that lies across eight words. */
#define SWAP(x, y, mask, n)                                                                        \
  {                                                                                                \
    ulong8 w = ((x >> n) ^ y) & mask;                                                              \
    y ^= w;                                                                                        \
    x ^= w << n;                                                                                   \
  }
#define TRANSPOSE(v, st, m1, m2, m3, n)                                                            \
  for (int i = 0; i < 8; i += 2) SWAP(v[(st)*i], v[(st) * (i + 1)], m1, n)                         \
  for (int i = 0; i < 8; i += 4) {                                                                 \
    SWAP(v[(st)*i], v[(st) * (i + 2)], m2, (2 * n))                                                \
    SWAP(v[(st) * (i + 1)], v[(st) * (i + 3)], m2, (2 * n))                                        \
  }                                                                                                \
  for (int i = 0; i < 4; i++) SWAP(v[(st)*i], v[(st) * (i + 4)], m3, (4 * n))

/* Bit i of a word, 0 or all ones. */
static ulong plane(uint w, int i) { return 0 - (ulong)((w >> i) & 1); }

/* The state after the first round, less the S-box's constant. Block 64 j + 8 i + lane of the unit
   is bit 8 i + j of a lane. */
static void first_round(ulong8 *s, uint unit, uint key0, __global const uint *head) {
  const ulong8 low[9] = {(ulong8)(0, -1, 0, -1, 0, -1, 0, -1), (ulong8)(0, 0, -1, -1, 0, 0, -1, -1),
                         (ulong8)(0, 0, 0, 0, -1, -1, -1, -1), (ulong8)(0xff00ff00ff00ff00ul),
                         (ulong8)(0xffff0000ffff0000ul),       (ulong8)(0xffffffff00000000ul),
                         (ulong8)(0xaaaaaaaaaaaaaaaaul),       (ulong8)(0xccccccccccccccccul),
                         (ulong8)(0xf0f0f0f0f0f0f0f0ul)};
  uint high = unit * QR_OCL_DRAW_BLOCKS ^ key0;
  for (int i = 0; i < 128; i++) {
    int col = i >> 5; /* 0x63 times 2, 1, 1, 3: the constant of what is added below */
    s[i] = (ulong8)(plane(head[col] ^ rotate(0xa56363c6u, 8u * ((4 - col) & 3)), i & 31));
  }
  for (int r = 0; r < 4; r++) {
    ulong8 x[8], b[8], d[8];
    for (int i = 0; i < 8; i++) {
      x[i] = (ulong8)(plane(high, 8 * r + i));
      if (8 * r + i < 9) x[i] ^= low[8 * r + i];
    }
    sbox(x, b);
    twice(b, d);
    int col =
        (4 - r) & 3; /* byte r of word 0 goes to row r of this column; MixColumns spreads it */
    for (int i = 0; i < 8; i++) {
      s[8 * (4 * col + r) + i] ^= d[i];
      s[8 * (4 * col + ((r + 1) & 3)) + i] ^= b[i];
      s[8 * (4 * col + ((r + 2) & 3)) + i] ^= b[i];
      s[8 * (4 * col + ((r + 3) & 3)) + i] ^= b[i] ^ d[i];
    }
  }
}

static void store(__global ulong *out, ulong8 *s) {
  for (int p = 0; p < 16; p++) {
    TRANSPOSE((s + 8 * p), 1, 0x5555555555555555ul, 0x3333333333333333ul, 0x0f0f0f0f0f0f0f0ful, 1)
  }
  for (int j = 0; j < 8; j++) {
    ulong8 *lo = s + j, *hi = s + 64 + j;
    TRANSPOSE(lo, 8, 0x00ff00ff00ff00fful, 0x0000ffff0000fffful, 0x00000000fffffffful, 8)
    TRANSPOSE(hi, 8, 0x00ff00ff00ff00fful, 0x0000ffff0000fffful, 0x00000000fffffffful, 8)
    for (int i = 0; i < 8; i++) {
      ulong8 a = lo[8 * i], b = hi[8 * i];
      vstore8((ulong8)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3), 16 * j + 2 * i, out);
      vstore8((ulong8)(a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7), 16 * j + 2 * i + 1, out);
    }
  }
}

__kernel void draw(MEM, __global const qr_ocl_draw_t *draws, uint keys_off, uint heads_off) {
  uint g = (uint)get_group_id(0), i = 0, begin = 0;
  while (g >= draws[i].wg_end) begin = draws[i++].wg_end;
  __global const qr_ocl_keys_t *keys = AT(const qr_ocl_keys_t, keys_off);
  ulong8 s[128], o[128];
  uint unit = g - begin;
  first_round(s, unit, keys->key0, AT(const uint, heads_off) + 4 * draws[i].slot);
  __global const ulong *plane_of = (__global const ulong *)keys->plane;
  round_of(s, o, plane_of, 1);
  round_of(o, s, plane_of + 128, 1);
  round_of(s, o, plane_of + 256, 1);
  round_of(o, s, plane_of + 384, 0);
  store(AT(ulong, draws[i].dst) + unit * (QR_OCL_DRAW_BLOCKS * 2), s);
}

#else

/* MixColumns of S(x) in row 0; the other rows are rotations. */
__constant uint table[256] = {QR_OCL_TABLE};

#if QR_OCL_LOCAL_TABLE
#define TABLE __local const uint *
#else
#define TABLE __constant const uint *
#endif

#define BYTE(w, i) (((w) >> (8 * (i))) & 255)

static uint column(TABLE tab, uint a, uint b, uint c, uint d, uint key) {
  return tab[BYTE(a, 0)] ^ rotate(tab[BYTE(b, 1)], 8u) ^ rotate(tab[BYTE(c, 2)], 16u) ^
         rotate(tab[BYTE(d, 3)], 24u) ^ key;
}

static uint last(TABLE tab, uint a, uint b, uint c, uint d, uint key) {
  return ((BYTE(tab[BYTE(a, 0)], 1) | BYTE(tab[BYTE(b, 1)], 1) << 8 |
           BYTE(tab[BYTE(c, 2)], 1) << 16 | BYTE(tab[BYTE(d, 3)], 1) << 24)) ^
         key;
}

static uint4 block_of(TABLE tab, uint idx, __global const qr_ocl_keys_t *keys,
                      __global const uint *head) {
  uint w = idx ^ keys->key0;
  uint a = head[0] ^ tab[BYTE(w, 0)], b = head[1] ^ rotate(tab[BYTE(w, 3)], 24u),
       c = head[2] ^ rotate(tab[BYTE(w, 2)], 16u), d = head[3] ^ rotate(tab[BYTE(w, 1)], 8u);
  for (int i = 0; i < 3; i++) {
    __global const uint *key = keys->round[i];
    uint e = column(tab, a, b, c, d, key[0]), f = column(tab, b, c, d, a, key[1]),
         g = column(tab, c, d, a, b, key[2]), h = column(tab, d, a, b, c, key[3]);
    a = e, b = f, c = g, d = h;
  }
  __global const uint *key = keys->round[3];
  return (uint4)(last(tab, a, b, c, d, key[0]), last(tab, b, c, d, a, key[1]),
                 last(tab, c, d, a, b, key[2]), last(tab, d, a, b, c, key[3]));
}

__kernel void draw(MEM, __global const qr_ocl_draw_t *draws, uint keys_off, uint heads_off) {
  uint g = (uint)get_group_id(0), i = 0, begin = 0;
  while (g >= draws[i].wg_end) begin = draws[i++].wg_end;
  uint item = (uint)get_local_id(0), items = (uint)get_local_size(0);
#if QR_OCL_LOCAL_TABLE
  __local uint tab[256];
  for (uint x = item; x < 256; x += items) tab[x] = table[x];
  barrier(CLK_LOCAL_MEM_FENCE);
#else
#define tab table
#endif
  __global const qr_ocl_keys_t *keys = AT(const qr_ocl_keys_t, keys_off);
  __global const uint *head = AT(const uint, heads_off) + 4 * draws[i].slot;
  uint at = (g - begin) * QR_OCL_DRAW_BLOCKS, end = min(draws[i].blocks, at + QR_OCL_DRAW_BLOCKS);
  for (uint x = at + item; x < end; x += items)
    vstore4(block_of(tab, x, keys, head), x, AT(uint, draws[i].dst));
}

#endif
