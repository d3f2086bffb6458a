/* The body of lookup products, included once per width of vector: LANES eight-bit sums, NAME(x) for
   what it defines. */
typedef uint8_t NAME(lanes_t) __attribute__((vector_size(LANES))); /* sums may wrap on the way */
typedef int8_t NAME(half_t) __attribute__((vector_size(LANES / 2)));
typedef int16_t NAME(wide_t) __attribute__((vector_size(LANES)));

/* Sums of every two values of B for PAIRS pairs of rows of A: [pair][levels * levels][LANES]. */
INLINE void NAME(make_tables)(int8_t *table, const int8_t *a, uint32_t m, int b_max) {
  const int levels = 2 * b_max + 1;
  for (uint32_t p = 0; p < PAIRS; p++, a += 2 * (size_t)m) {
    NAME(lanes_t) first, second, row = {0};
    memcpy(&first, a, LANES);
    memcpy(&second, a + m, LANES);
    for (int i = 0; i < b_max; i++) row -= first + second;
    for (int i = 0; i < levels; i++, row += first) {
      NAME(lanes_t) sum = row;
      for (int j = 0; j < levels; j++, sum += second, table += LANES) memcpy(table, &sum, LANES);
    }
  }
}

/* Offsets into the tables: [k / 2][PITCH]. */
INLINE void NAME(make_index)(uint16_t *index, const int8_t *b, uint32_t n, uint32_t k, int b_max) {
  const int16_t levels = (int16_t)(2 * b_max + 1), zero = (int16_t)(b_max * levels + b_max);
  for (uint32_t p = 0; p < k / 2; p++, b += 2 * (size_t)n, index += PITCH) {
    for (uint32_t j = 0; j < n; j += LANES / 2) {
      NAME(half_t) first = {0}, second = {0};
      size_t cnt = n - j < sizeof first ? n - j : sizeof first;
      memcpy(&first, b + j, cnt);
      memcpy(&second, b + n + j, cnt);
      NAME(wide_t)
      at = __builtin_convertvector(first, NAME(wide_t)) * levels +
           __builtin_convertvector(second, NAME(wide_t)) + zero;
      at *= (int16_t)LANES;
      memcpy(index + j, &at, sizeof at); /* the pitch leaves room for whole vectors */
    }
  }
}

INLINE void NAME(add_up)(int8_t *sums, const int8_t *table, const uint16_t *index, uint32_t n,
                         size_t table_sz, bool first) {
  for (uint32_t j = 0; j < n; j += GROUP, index += GROUP, sums += GROUP * LANES) {
    NAME(lanes_t) s[GROUP];
#pragma GCC unroll 8
    for (uint32_t g = 0; g < GROUP; g++) {
      s[g] = (NAME(lanes_t)){0};
      if (!first) memcpy(&s[g], sums + g * LANES, LANES);
    }
#pragma GCC unroll 8
    for (uint32_t p = 0; p < PAIRS; p++) {
#pragma GCC unroll 8
      for (uint32_t g = 0; g < GROUP; g++)
        s[g] += *(const NAME(lanes_t) *)(table + p * table_sz + index[p * PITCH + g]);
    }
#pragma GCC unroll 8
    for (uint32_t g = 0; g < GROUP; g++) memcpy(sums + g * LANES, &s[g], LANES);
  }
}

INLINE void NAME(widen)(int16_t *c, const int8_t *sums, uint32_t m, uint32_t n, bool first) {
  for (uint32_t j = 0; j < n; j++, c += m, sums += LANES) {
    for (uint32_t h = 0; h < 2; h++) {
      NAME(half_t) part;
      NAME(wide_t) sum = {0};
      memcpy(&part, sums + h * sizeof part, sizeof part);
      if (!first) memcpy(&sum, c + h * sizeof part, sizeof sum);
      sum += __builtin_convertvector(part, NAME(wide_t));
      memcpy(c + h * sizeof part, &sum, sizeof sum);
    }
  }
}

INLINE void NAME(multiply)(const qr_adversary_product_t *p, int b_max) {
  const size_t table_sz = (size_t)(2 * b_max + 1) * (size_t)(2 * b_max + 1) * LANES;
  int8_t *table = p->scratch, *sums = table + PAIRS * 81 * LANES;
  uint16_t *index = (uint16_t *)(void *)(sums + (size_t)p->n * LANES);
  NAME(make_index)(index, p->b, p->n, p->k, b_max);
  for (uint32_t at = 0; at < p->m; at += LANES) {
    uint32_t since = 0;
    bool first = true;
    for (uint32_t k = 0; k < p->k; k += 2 * PAIRS) {
      NAME(make_tables)(table, p->a + (size_t)k * p->m + at, p->m, b_max);
      NAME(add_up)(sums, table, index + (size_t)k / 2 * PITCH, p->n, table_sz, !since);
      since += 2 * PAIRS;
      if (since < p->flush && k + 2 * PAIRS < p->k) continue;
      NAME(widen)(p->c + at, sums, p->m, p->n, first);
      first = false;
      since = 0;
    }
  }
}

/* b_max as a constant, so that the tables' offsets are. */
INLINE void NAME(multiply_any)(const qr_adversary_product_t *p) {
  if (p->b_max <= 2)
    NAME(multiply)(p, 2);
  else
    NAME(multiply)(p, 4);
}
